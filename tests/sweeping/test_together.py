"""Jobs of a sweep that train together: which ones, what they leave, and how they survive what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from emote.command_line import compose_config, main
from emote.sweeping.index import Index
from emote.sweeping.plan import plan
from emote.sweeping.report import write_report
from emote.sweeping.together import packs, told
from tests.sweeping.conftest import Finished, Steps
from tests.sweeping.helpers import ADAPTER, adapters, sweep_of

PACKED = "sweep.pack=true"


@pytest.fixture(scope="session")
def packed(sweep_words: list[str], steps: Steps, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    torch.set_num_threads(1)
    runs, before = tmp_path_factory.mktemp("packed"), steps.computed
    assert main([*sweep_words, PACKED, f"run.dir={runs}"]) == 0
    return Finished(runs, steps.computed - before)


def weights(runs: Path) -> dict[str, torch.Tensor]:
    """Of every finished step count of every run, by rank."""
    found: dict[str, torch.Tensor] = {}
    for file in sorted(runs.glob(f"*/steps/[0-9]*/{ADAPTER}")):
        state = load_file(file)
        rank = next(tensor.shape[0] for name, tensor in state.items() if "lora_A" in name)
        found |= {f"{rank} {file.parent.name} {name}": tensor for name, tensor in state.items()}
    return found


def states(runs: Path) -> list[str]:
    return [entry.state for entry in Index(sweep_of(runs)).entries()]


def assert_same(runs: Path, others: Path) -> None:
    mine, theirs = weights(runs), weights(others)
    assert mine and mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=1e-4)


def test_a_packed_sweep_leaves_what_a_sweep_leaves_under_names_of_its_own(packed: Finished, finished: Finished) -> None:
    assert states(packed.runs) == ["finished"] * 4
    assert packed.computed == 4  # steps of the one optimizer
    assert_same(packed.runs, finished.runs)
    names, others = ({path.name for path in runs.glob("tiny-*")} for runs in (packed.runs, finished.runs))
    assert len(names) == len(others) == 2 and not names & others
    told = json.loads(next(packed.runs.glob("*/steps/000004/summary.json")).read_text())
    assert sorted(told["together"]) == sorted(names) and told["command"].startswith("python train.py -m ")
    assert "What that gained is not known here" in (packed.directory / "report.md").read_text()
    assert "Trained together" not in (finished.directory / "report.md").read_text()
    assert "sweep:\n  pack: true" in next(packed.runs.glob("*/steps/000004/config.yaml")).read_text()


def test_a_report_of_both_ways_says_what_training_together_gained(
    packed: Finished, finished: Finished, tmp_path: Path
) -> None:
    write_report([packed.directory, finished.directory], tmp_path)
    lines = (tmp_path / "report.md").read_text().splitlines()
    rows = [line for line in lines if line.endswith("times as fast |")]
    assert len(rows) == 2  # of two and of four steps
    for row, step in zip(rows, (2, 4), strict=True):
        _, _, at, together, _, alone, _, gain, _ = (cell.strip() for cell in row.split("|"))
        assert int(at) == step
        seconds = [float(cell.removesuffix(" s")) for cell in (together, alone)]
        assert float(gain.split()[0]) == pytest.approx(seconds[1] / seconds[0], rel=0.02)


def disturbed_words(sweep_words: list[str], directory: Path, what: str) -> list[str]:
    file = directory / "disturb"
    file.unlink(missing_ok=True)
    if what:
        file.write_text(what)
    target = "+callbacks.extra.disturb._target_=tests.sweeping.helpers.Disturb"
    return [*sweep_words, PACKED, f"run.dir={directory}/runs", target, f"+callbacks.extra.disturb.file={file}"]


@pytest.mark.slow
def test_a_signal_stops_all_and_the_same_words_go_on(packed: Finished, sweep_words: list[str], tmp_path: Path) -> None:
    assert main(disturbed_words(sweep_words, tmp_path, "SIGTERM 2 3")) == 143
    assert states(tmp_path / "runs") == ["finished", "finished", "stopped", "stopped"]
    assert main(disturbed_words(sweep_words, tmp_path, "")) == 0
    assert adapters(tmp_path / "runs") == adapters(packed.runs)


def test_one_that_fails_stops_no_other_and_the_same_words_finish_it(
    packed: Finished, sweep_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    assert main(disturbed_words(sweep_words, tmp_path, "raise 2 2")) == 1
    told = capsys.readouterr().err
    assert "2 of 4 jobs failed:" in told and "RuntimeError: as it was asked  (" in told
    assert states(runs) == ["failed", "finished", "failed", "finished"]
    assert "Traceback" in (sweep_of(runs) / "logs" / "001.log").read_text()
    assert main(disturbed_words(sweep_words, tmp_path, "")) == 0
    assert_same(runs, packed.runs)


def test_jobs_that_differ_in_more_than_the_adapter_are_packs_of_their_own(
    sweep_words: list[str], tmp_path: Path
) -> None:
    words = [word for word in sweep_words if not word.startswith(("-m", "lora.rank=", "trainer.max_steps="))]

    def planned(pack: str) -> list[list[str]]:
        said = [
            [*words, f"run.dir={tmp_path}", f"sweep.pack={pack}", f"lora.rank={rank}", f"trainer.snr_gamma={gamma}"]
            for rank in (2, 4)
            for gamma in (1, 5)
        ]
        planned = plan([(line, compose_config(line)) for line in said])
        (wave,) = planned.waves()
        found = [[job.label for job in jobs] for jobs in packs(wave)]
        assert told(planned) == ([f"  together: {'; '.join(jobs)}" for jobs in found] if pack == "true" else [])
        return found

    ranks = [[f"lora.rank={rank} trainer.snr_gamma={gamma}" for rank in (2, 4)] for gamma in (1, 5)]
    assert planned("true") == ranks
    assert sorted(planned("false")) == sorted([job] for jobs in ranks for job in jobs)


def test_a_run_alone_has_nobody_to_train_with(
    sweep_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for word in sweep_words if not word.startswith(("-m", "lora.rank=", "trainer.max_steps="))]
    assert main([*words, PACKED, f"run.dir={tmp_path}"]) == 2
    assert "sweep.pack=true trains the runs of a sweep together, got a run alone" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
