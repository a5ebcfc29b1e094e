"""A finished sweep on the tiny Stable Diffusion: two ranks, each at two and at four steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from emote.cli.train import main
from tests.experiments.conftest import cache as cache
from tests.experiments.conftest import images as images
from tests.experiments.conftest import tiny_words as tiny_words
from tests.sweeps.helpers import sweep_of


@pytest.fixture(scope="session")
def sweep_words(tiny_words: list[str]) -> list[str]:
    """All but `run.dir=`."""
    swept = ["lora.rank=2,4", "trainer.max_steps=4,2"]
    often = ["callbacks.checkpoint.every_steps=1", "callbacks.validation.every_steps=1"]
    rest = [word for word in tiny_words if not word.startswith("trainer.max_steps=")]
    return ["-m", *swept, "experiment=best", "name=tiny", *rest, *often]


@dataclass
class Steps:
    computed: int = 0


@pytest.fixture(scope="session")
def steps() -> Iterator[Steps]:
    """How many optimizer steps this process has computed."""
    count = Steps()
    step = torch.optim.AdamW.step

    def counted(*arguments, **keywords):
        count.computed += 1
        return step(*arguments, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", counted)
        yield count


@dataclass(frozen=True)
class Finished:
    """runs: where its runs are kept.  computed: optimizer steps."""

    runs: Path
    computed: int

    @property
    def directory(self) -> Path:
        return sweep_of(self.runs)


@pytest.fixture(scope="session")
def finished(sweep_words: list[str], steps: Steps, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    torch.set_num_threads(1)
    runs, before = tmp_path_factory.mktemp("finished"), steps.computed
    assert main([*sweep_words, f"run.dir={runs}"]) == 0
    return Finished(runs, steps.computed - before)


@pytest.fixture
def disturbed(sweep_words: list[str], tmp_path: Path) -> Callable[..., int]:
    """`disturbed("raise 4 3")`: run the sweep in `tmp_path` with that happening, "" for nothing; the exit code.

    `disturbed("raise 4 3", words)` runs the sweep of these words.
    """
    file = tmp_path / "disturb"
    extra = [
        "+callbacks.extra.disturb._target_=tests.sweeps.helpers.Disturb",
        "+callbacks.extra.disturb.only_watches=true",
        f"+callbacks.extra.disturb.file={file}",
    ]

    def go(what: str, words: list[str] = sweep_words) -> int:
        file.unlink(missing_ok=True)
        if what:
            file.write_text(what)
        return main([*words, f"run.dir={tmp_path / 'runs'}", *extra])

    return go
