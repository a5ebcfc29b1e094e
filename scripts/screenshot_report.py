"""Take the README's image of a sweep's report: docs/sweep-report.png.

python scripts/screenshot_report.py                          # the newest sweep in runs/
python scripts/screenshot_report.py report=runs/sweeps/sweep-demo-0123456789ab/report.html
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from emote.cli.keywords import run_script
from emote.config import key
from emote.util.errors import ConfigError

WIDTH_PX = 960


@dataclass
class Options:
    report: str | None = key("report.html of a sweep; null: the newest in runs/sweeps", default=None)
    section: str = key("the heading that the image begins with", default="Held-out loss")
    height: int = key("of the image in pixels", at_least=100, at_most=10000, default=1910)
    out: str = key("where the image goes", default="docs/sweep-report.png")


def main(options: Options) -> None:
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
        write_with(Path(options.out), lambda path: page.screenshot(path=path, type="png", clip=clip, full_page=True))
    print(options.out)


if __name__ == "__main__":
    sys.exit(run_script(Options, main, __doc__, sys.argv[1:]))
