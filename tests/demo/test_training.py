"""The one training of the page, without a page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from emote.demo.training import FAILED, STOPPED, State, Training, sentence
from emote.util.errors import ConfigError

PATIENCE_S = 600  # of a busy machine


@pytest.fixture
def training(tmp_path: Path) -> Iterator[Training]:
    training = Training(tmp_path / "runs", tmp_path / "scratch")
    yield training
    training.close()


def wait_until(training: Training, reached: Callable[[State], bool]) -> State:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        state = training.state()
        if state and reached(state):
            return state
        time.sleep(0.05)
    raise AssertionError(training.state())


def words(tmp_path: Path, tiny_sd: Path, shared_cache: Path, *more: str) -> list[str]:
    return ["experiment=smoke", f"model.path={tiny_sd}", "model.resolution=32", "data.max_items=24",
            "trainer.accelerator=cpu", "callbacks.samples.inference_steps=2", "callbacks.checkpoint.every_steps=2",
            f"run.dir={tmp_path / 'runs'}", f"run.cache_dir={shared_cache}", *more]  # fmt: skip


def test_it_stops_saved_and_another_server_goes_on_with_it(
    training: Training, tmp_path: Path, tiny_sd: Path, shared_cache: Path
) -> None:
    many = words(tmp_path, tiny_sd, shared_cache, "trainer.max_steps=4000")
    training.start(many, 4000)
    with pytest.raises(ConfigError, match="one at a time"):
        training.start(many, 4000)
    wait_until(training, lambda state: state.step >= 1)
    training.stop()
    training.stop()  # a second signal would end it without saving
    stopped = wait_until(training, lambda state: not state.is_going)
    assert stopped.kind == STOPPED and stopped.run and 0 < stopped.step < 4000
    assert list((tmp_path / "runs" / stopped.run / "checkpoints").glob("*.ckpt"))

    later = Training(tmp_path / "runs", tmp_path / "later")
    there = later.state()
    assert there is not None and (there.kind, there.run, there.step) == (STOPPED, stopped.run, stopped.step)
    assert sentence(there.words).endswith("trainer.max_steps=4000")
    later.go_on()
    try:
        wait_until(later, lambda state: state.step > stopped.step)
    finally:
        later.close()  # as the server does at its end: saved as well


def test_a_mistake_is_shown_as_the_terminal_shows_it(training: Training) -> None:
    training.start(["experiment=smoke", "lora.rank=0"], 4)
    failed = wait_until(training, lambda state: not state.is_going)
    assert failed.kind == FAILED and failed.said.startswith("error: lora.rank")


@pytest.mark.parametrize("note", ["", "{", "[]", '{"words": 3}', '{"words": [], "steps": "x", "run": null}'])
def test_a_damaged_note_is_no_training(training: Training, tmp_path: Path, note: str) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / ".page.json").write_text(note)
    assert training.state() is None
    with pytest.raises(ConfigError, match="nothing has been trained"):
        training.go_on()
