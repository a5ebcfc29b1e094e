"""Take the README's image of a sweep's report: docs/sweep-report.png.

emote tools screenshot-report                          # the newest sweep in runs/
emote tools screenshot-report report=runs/sweeps/sweep-demo-0123456789ab/report.html
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from emote.cli.keywords import run_command
from emote.config import key
from emote.util.errors import ConfigError

WIDTH_PX = 1100


@dataclass
class Options:
    report: str | None = key("report.html of a sweep; null: the newest in runs/sweeps", default=None)
    section: str = key("the heading that the image begins with", default="Held-out loss")
    height: int = key("of the image in pixels", at_least=100, at_most=10000, default=1910)
    output: str = key("the image's file", default="docs/sweep-report.png")


def screenshot(options: Options) -> None:
    """Write the image and print its path. Raises ConfigError without a browser, a report, or the heading."""
    from emote.tools.chromium import chromium
    from emote.util.files import write_with

    found = sorted(Path("runs/sweeps").glob("*/report.html"), key=lambda path: path.stat().st_mtime)
    file = Path(options.report) if options.report else found[-1] if found else None
    if file is None or not file.is_file():
        raise ConfigError(f"report must be the report.html of a sweep, got {file or 'none in runs/sweeps'}")
    with chromium() as browser:
        page = browser.new_page(viewport={"width": WIDTH_PX, "height": options.height})
        page.goto(file.resolve().as_uri())
        heading = page.get_by_role("heading", name=options.section, exact=True)
        if not heading.count():
            raise ConfigError(f"section must be a heading of the report, got {options.section}")
        top = heading.first.bounding_box()["y"] - 20
        clip = {"x": 0, "y": top, "width": WIDTH_PX, "height": options.height}
        write_with(Path(options.output), lambda path: page.screenshot(path=path, type="png", clip=clip, full_page=True))
    print(options.output)


main = partial(run_command, Options, screenshot, __doc__)
