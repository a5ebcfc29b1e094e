"""Take the README's images of the demo: docs/demo-desktop.png and docs/demo-phone.png.

emote tools screenshot-demo
emote tools screenshot-demo run=latest "prompts=[fairy, robot]" dark=true output=shots
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from emote.cli.keywords import run_command
from emote.config import key


@dataclass
class Options:
    run: str | None = key("as for `emote demo`", default=None)
    runs_dir: str = key("where runs are kept", default="runs")
    prompts: list[str] = key("what to draw; the last is on the stage; empty: the run's examples", default=[])
    n: int = key("how many of the examples", at_least=1, at_most=12, default=6)
    dark: bool = key("a dark page", default=False)
    output: str = key("folder for the images", default="docs")


def screenshot(options: Options) -> None:
    """Draw in the page and print the files. Raises ConfigError without a browser, and for names of nothing."""
    from emote.demo.serve import DemoOptions, running
    from emote.tools.chromium import chromium
    from emote.tools.screenshot import take

    with running(DemoOptions(run=options.run, runs_dir=options.runs_dir)) as demo, chromium() as browser:
        for file in take(browser, demo.url, Path(options.output), options.prompts, options.n, options.dark):
            print(file)


main = partial(run_command, Options, screenshot, __doc__)
