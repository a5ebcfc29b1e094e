"""From a folder of images to a drawing, in a real browser; the training goes on while no page is open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from emote.config import Accelerator
from emote.demo.serve import Demo, DemoOptions, running
from tests.demo.conftest import PATIENCE_MS

IMAGES = 25
Pages = Any


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders with the same names of images, and captions beside them."""
    folder = tmp_path_factory.mktemp("images")
    colours = np.random.default_rng(0).integers(0, 256, (IMAGES, 3))
    for number, colour in enumerate(colours.tolist()):
        file = folder / ("left", "right")[number % 2] / f"{number // 2}.png"
        file.parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 40), tuple(colour)).save(file)
        file.with_suffix(".txt").write_text(f"thing {chr(97 + number)}")
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs of the page")


@pytest.fixture(scope="module")
def demo(runs: Path, tiny_sd: Path, shared_cache: Path) -> Iterator[Demo]:
    train = [f"model.path={tiny_sd}", "model.resolution=32", f"run.cache_dir={shared_cache}",
             "callbacks.samples.inference_steps=2"]  # fmt: skip
    options = DemoOptions(model=str(tiny_sd), runs_dir=str(runs), device=Accelerator.cpu, train=train)
    with running(options) as demo:
        yield demo


def open_train_tab(demo: Demo, browser: Any, width_px: int, height_px: int) -> Any:
    page = browser.new_context(viewport={"width": width_px, "height": height_px}).new_page()
    page.set_default_timeout(10 * PATIENCE_MS)  # two commands run meanwhile
    page.goto(demo.url)
    page.get_by_role("tab", name="Train").click()
    page.wait_for_selector("#start, #stop")
    return page


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.slow
def test_a_folder_becomes_a_model_that_draws_while_pages_come_and_go(
    demo: Demo, browser: Any, images: Path, runs: Path
) -> None:
    page = open_train_tab(demo, browser, 1280, 900)
    page.click("#start")
    page.locator("#notice .notice").filter(has_text="there are no images yet").wait_for()
    page.set_input_files("input[webkitdirectory]", images)
    page.wait_for_selector("#found .report")
    assert f"{IMAGES} of {2 * IMAGES} files are used ({IMAGES} captions in" in page.inner_text("#found .report")
    (kept,) = (runs / "uploads").iterdir()
    assert content(kept) == content(images)  # captions are beside their own images
    assert page.evaluate("document.querySelector('#found img').naturalWidth") > 300
    page.fill("#max-steps input", "4")
    page.fill("#samples textarea", "thing a")
    page.click("#start")
    page.wait_for_selector("#stop")
    page.context.close()  # in the middle

    page = open_train_tab(demo, browser, 390, 844)
    page.wait_for_selector("#draw-with-it")
    assert "is finished: 4 steps" in page.inner_text("#status .headline")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.wait_for_function("document.querySelector('#status img').naturalWidth > 0")
    (run,) = runs.glob("mine-*/steps/000004/summary.json")
    assert f"run.dir={runs}" in page.inner_text("#status .command").replace("'", "")
    page.click("#draw-with-it")
    page.wait_for_selector(f".masthead:has-text('{run.parents[2].name}/4')")
    page.fill("#prompt textarea", "thing b")
    page.click("#generate")
    page.wait_for_selector("#gallery .tile")
    assert page.locator("#stage img").count() == 2
    page.context.close()


@pytest.mark.slow
def test_a_folder_can_be_dropped(demo: Demo, browser: Any, images: Path, runs: Path) -> None:
    page = open_train_tab(demo, browser, 1280, 900)
    box = page.locator("#files").bounding_box()
    data = {"items": [], "files": [str(images / "left")], "dragOperationsMask": 1}
    protocol = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        protocol.send("Input.dispatchDragEvent", {"type": kind, "x": box["x"] + 50, "y": box["y"] + 50, "data": data})
    page.wait_for_selector("#found .report")
    assert content(images / "left") in [content(kept) for kept in (runs / "uploads").iterdir()]
    page.context.close()
