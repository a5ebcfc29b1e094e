"""Put the page on this machine's own address, and clean up after it."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emote.config import Accelerator, key
from emote.util.errors import ConfigError
from emote.util.places import how_to_install
from emote.util.quiet import quiet_libraries

if TYPE_CHECKING:
    from emote.demo.session import Sessions
    from emote.demo.shared_generator import SharedGenerator

HOST = "127.0.0.1"
LOOPBACK = (HOST, "localhost", "::1")
CLOSING_S = 1
QUEUE_LENGTH = 32  # drawings that may wait


@dataclass
class DemoOptions:
    run: str | None = key("what to open with: a run, adapter file or Hub name, or base; the newest run "
                          "if left out", default=None)  # fmt: skip
    model: str | None = key("base model, as in `emote generate`; the run's own if left out", default=None)
    runs_dir: str = key("where runs are kept", default="runs")
    device: Accelerator = key("auto, cpu, cuda or mps", default=Accelerator.auto)
    port: int | None = key("7860 or the next that is free if left out", at_least=1, at_most=65535, default=None)
    host: str = key("address to serve at; 0.0.0.0 lets others of your network in", default=HOST)
    share: bool = key("also serve at a public address of gradio.live, to whoever knows it", default=False)
    speed: str | None = key("adapter that draws in a few steps, for drawing while one types; the miniature's own if "
                            "left out", default=None)  # fmt: skip
    train: list[str] = key("words for every training of the Train tab, as for `emote train`", default=[])
    open: bool = key("open the page in the browser", default=True)


@dataclass(frozen=True)
class Demo:
    """A running demo: its address, its base model, its visitors, and the folder that it writes to."""

    url: str
    image_generator: SharedGenerator
    sessions: Sessions
    folder: Path
    share_url: str | None = None


def serve(options: DemoOptions) -> int:
    """Serve until Ctrl-C; a training that goes on is then saved.

    Raises ConfigError where the port is taken, there is no such run, or gradio is missing.
    """
    from emote.util.interrupt import StopRequest

    with suppress(KeyboardInterrupt), StopRequest(), running(options) as demo:
        print(f"the demo is at {demo.url}  (Ctrl-C stops it)", flush=True)
        for line in warnings(options, demo.share_url):
            print(line, flush=True)
        if options.open:
            webbrowser.open(demo.url)
        while True:
            time.sleep(3600)
    print("stopped")
    return 0


def warnings(options: DemoOptions, share_url: str | None) -> list[str]:
    """Return what is to be known where others can reach the page."""
    others = "can draw, upload images and train on this machine; there is no password"
    lines = []
    if options.host not in LOOPBACK:
        lines.append(f"warning: host={options.host} lets others in: whoever reaches this machine {others}")
    if options.share and share_url:
        lines.append(f"warning: share=true: whoever knows {share_url} {others}")
    elif options.share:
        lines.append("warning: share=true: gradio.live gave no address, so the page is at the one above alone")
    return lines


@contextmanager
def running(options: DemoOptions) -> Iterator[Demo]:
    """The demo, as long as the block lasts. All that it writes lies in a directory that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="emote-demo-")).resolve()
    try:
        with _environment(
            GRADIO_TEMP_DIR=str(folder / "files"),  # the only folder that the page may read
            GRADIO_EXAMPLES_CACHE=str(folder / "examples"),
            GRADIO_ANALYTICS_ENABLED="False",
            HF_HUB_DISABLE_TELEMETRY="1",  # Gradio sets it for the whole process else
            NO_PROXY=f"{os.environ.get('NO_PROXY', os.environ.get('no_proxy', ''))},{HOST}".lstrip(","),
        ):
            yield from _launched(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _launched(options: DemoOptions, folder: Path) -> Iterator[Demo]:
    quiet_libraries()
    try:
        from emote.demo.page import STYLE, build_page
        from emote.demo.uploads import MOST_BYTES
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise ConfigError(f"the demo needs gradio; {how_to_install('demo')}") from error
    from emote.demo.catalogue import Catalogue
    from emote.demo.handlers import Handlers
    from emote.demo.live.handlers import LiveHandlers
    from emote.demo.session import Sessions
    from emote.demo.shared_generator import SharedGenerator
    from emote.demo.theme import theme
    from emote.demo.train_handlers import TrainHandlers
    from emote.demo.training import Training

    catalogue = Catalogue(Path(options.runs_dir), options.run, options.model)
    image_generator, sessions = SharedGenerator(options.device.value), Sessions(folder / "files")
    image_generator.load(catalogue.first.model)  # a mistake is better known now than at the first press of a button
    training = Training(Path(options.runs_dir), folder)
    more = [*([] if options.device is Accelerator.auto else [f"trainer.accelerator={options.device.value}"]),
            *options.train]  # fmt: skip
    train = TrainHandlers(training, sessions, folder / "files", more)
    handlers = Handlers(image_generator, catalogue, sessions)
    page = build_page(handlers, train, LiveHandlers(handlers, options.speed)).queue(max_size=QUEUE_LENGTH)
    try:
        _, url, share_url = page.launch(
            server_name=options.host,
            server_port=options.port,
            prevent_thread_lock=True,
            quiet=True,
            share=options.share,
            max_file_size=MOST_BYTES,
            inbrowser=False,
            mcp_server=False,
            ssr_mode=False,
            pwa=False,
            enable_monitoring=False,
            run_history=False,  # would keep prompts in the browser
            footer_links=[],
            theme=theme(),
            head=f"<style>{STYLE.read_text(encoding='utf-8')}</style>",  # css= rewrites selectors
        )
    except OSError as error:
        taken = f"port={options.port} is taken; leave port= out and a free one is found" if options.port else str(error)
        raise ConfigError(taken) from error
    try:
        yield Demo(url, image_generator, sessions, folder, share_url)
    finally:
        sessions.cancel_all()
        training.close()
        page.server.config.timeout_graceful_shutdown = CLOSING_S  # pages may still be open,
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # which would be reported as errors
        page.close(verbose=False)


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
