"""The page as an image, in use: some drawings made, some of them in the pack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

SIZES_PX = {"desktop": (1280, 900), "phone": (390, 844)}
FOR_A_DRAWING_MS = 600_000.0  # Stable Diffusion on a CPU
IN_PACK = 3


def take(browser: Any, url: str, folder: Path, subjects: Sequence[str], draw: int, dark: bool) -> Iterator[Path]:
    """Draw `subjects`, or the first `draw` examples of the page, at each width; yields the files as they are made."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (width, height) in SIZES_PX.items():
        page = browser.new_page(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            device_scale_factor=2 if name == "phone" else 1,
        )
        page.set_default_timeout(FOR_A_DRAWING_MS)
        page.goto(url)
        page.wait_for_selector(".chip")
        chips = page.locator(".chip").all_inner_texts()[:draw]
        for number, words in enumerate(subjects or chips[::-1]):
            page.fill("#prompt textarea", words)
            page.fill("#seed input", str(number))
            page.click("#generate")
            page.wait_for_selector(f"#gallery .tile:nth-child({number + 1})")
            if number < IN_PACK:
                page.click("#add")
                page.wait_for_selector(f"#pack li:nth-child({number + 1})")
        page.wait_for_function("[...document.images].every(image => image.complete)")
        page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
        page.mouse.move(0, 0)
        file = folder / f"demo-{name}{'-dark' if dark else ''}.png"
        page.screenshot(path=file, animations="disabled", full_page=name == "desktop")
        page.close()
        yield file
