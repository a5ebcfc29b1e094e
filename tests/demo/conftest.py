"""The demo over a tiny Stable Diffusion with two runs, and a real browser to visit it with."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from emote.config import Accelerator
from emote.demo.serve import Demo, DemoOptions, running
from emote.lora.adapter import attach
from emote.lora.formats import save_diffusers
from tests.models.helpers import fresh_unet, learn, lora_config

SLOW_STEP_S = 0.05
PATIENCE_MS = 60_000  # of a test, on a busy machine


def write_run(folder: Path, base: Path, caption: str = "An emoji of {text}, {style} style") -> Path:
    """What a finished run leaves, as far as the demo reads it."""
    step = folder / "steps" / "000020"
    step.mkdir(parents=True)
    unet, lora = fresh_unet(base), lora_config()
    attach(unet, lora)
    learn(unet)
    save_diffusers(unet, step, lora)
    config = {
        "name": folder.name.rpartition("-")[0],
        "lora": {"rank": 4},
        "model": {"path": str(base), "revision": None, "variant": None, "resolution": 32, "resolution_multiple": 4},
        "data": {"source": "openmoji", "path": None, "resolution": 32, "background": "white", "caption": caption},
        "callbacks": {
            "samples": {
                "guidance_scale": 4.0,
                "prompts": [f"An emoji of {what}, openmoji style" for what in ("cat", "fairy")],
            }
        },
    }
    (step / "config.yaml").write_text(yaml.safe_dump(config))
    (step / "summary.json").write_text("{}")
    return step


@pytest.fixture(scope="session")
def runs_dir(tiny_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    write_run(runs / "other-0123456789ab", tiny_sd)
    write_run(runs / "quickstart-ba9876543210", tiny_sd)
    return runs


@pytest.fixture(scope="session")
def demo(runs_dir: Path) -> Iterator[Demo]:
    with running(DemoOptions(runs_dir=str(runs_dir), device=Accelerator.cpu)) as demo:
        yield demo


@pytest.fixture
def visit(demo: Demo, browser: Any) -> Iterator[Callable[..., Any]]:
    """`visit()`: an open page of a browser of its own. Afterwards: nothing was asked of any other host."""
    with ExitStack() as stack:
        asked: list[str] = []
        errors: list[str] = []

        def open_page(width_px: int = 1280, height_px: int = 900) -> Any:
            context = browser.new_context(viewport={"width": width_px, "height": height_px})
            stack.callback(context.close)
            context.on("request", lambda request: asked.append(request.url))
            page = context.new_page()
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("websocket", lambda socket: asked.append(socket.url))
            page.set_default_timeout(PATIENCE_MS)
            page.goto(demo.url)
            page.wait_for_selector(".chip")
            page.click("#more button")
            for _ in range(100):  # the page may not listen yet
                page.fill("#steps input[type=number]", "2")
                page.wait_for_timeout(50)
                if page.input_value("#steps input[type=range]") == "2":
                    break
            return page

        yield open_page
    hosts = {urlsplit(url).hostname for url in asked if not url.startswith(("data:", "blob:"))}
    assert hosts <= {"127.0.0.1"}
    assert errors == []


class Slowly:
    """Draws at so many seconds a step, while it may, and remembers how much was drawn and how many at once."""

    def __init__(self, draw: Callable[..., Any]) -> None:
        self._draw = draw
        self.steps = self.now = self.most = 0
        self._counting = threading.Lock()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def __call__(self, *arguments: Any, on_step: Callable[[int, int], None], **keywords: Any) -> Any:
        def step(done: int, of: int) -> None:
            self.steps += 1
            time.sleep(SLOW_STEP_S)
            self.may_go_on.wait()
            on_step(done, of)

        with self._counting:
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            return self._draw(*arguments, on_step=step, **keywords)
        finally:
            with self._counting:
                self.now -= 1


@pytest.fixture
def slowly(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slowly]:
    slow = Slowly(demo.image_generator.draw)
    monkeypatch.setattr(demo.image_generator, "draw", slow)
    yield slow
    slow.may_go_on.set()
