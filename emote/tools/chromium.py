"""A real browser for images and tests of the page, on this machine and without a network of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emote.util.errors import ConfigError
from emote.util.places import how_to_install

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",  # containers have none to offer; the one page is ours
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def chromium() -> Iterator[Any]:
    """Playwright's Browser: $CHROMIUM, else one on the PATH, else Playwright's own. Raises ConfigError without one."""
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError as error:
        raise ConfigError(f"a browser is driven by playwright; {how_to_install('dev')}") from error
    with sync_playwright() as playwright:
        named = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
        path = named or playwright.chromium.executable_path
        if not Path(path).is_file():
            raise ConfigError(f"there is no Chromium: none of {', '.join(NAMES)} is on the PATH; set CHROMIUM=<path>")
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()
