"""Take the README's images of the demo: docs/demo-desktop.png and docs/demo-phone.png.

python scripts/screenshot_demo.py
python scripts/screenshot_demo.py run=latest "subjects=[fairy, robot]" dark=true out=shots
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from emote.cli.keywords import run_script
from emote.config import key


@dataclass
class Options:
    run: str | None = key("as in scripts/demo.py", default=None)
    runs_dir: str = key("where runs lie", default="runs")
    subjects: list[str] = key("what to draw; the last is on the stage; empty: the run's examples", default=[])
    draw: int = key("how many of the examples", at_least=1, at_most=12, default=6)
    dark: bool = key("a dark page", default=False)
    out: str = key("where the images go", default="docs")


def main(options: Options) -> None:
    from emote.demo.serve import DemoOptions, running
    from emote.tools.chromium import chromium
    from emote.tools.screenshot import take

    with running(DemoOptions(run=options.run, runs_dir=options.runs_dir)) as demo, chromium() as browser:
        for file in take(browser, demo.url, Path(options.out), options.subjects, options.draw, options.dark):
            print(file)


if __name__ == "__main__":
    sys.exit(run_script(Options, main, __doc__, sys.argv[1:]))
