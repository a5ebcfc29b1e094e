"""What is damaged or gone is told, set aside, and the sound one before it is used."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from emote.runs.damage import remove_set_aside
from emote.runs.run_folder import RunFolder
from emote.tools.fuzz_runs import HARMS
from emote.training.recover import recover
from emote.util.files import sealed

IDENTITY = "0123456789ab"


def checkpoint(folder: RunFolder, step: int, of_step: int | None = None, run: str = IDENTITY) -> Path:
    file = folder.checkpoint(step)
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"global_step": of_step or step, "emote_run": run, "state_dict": {"x": torch.randn(500)}}
    torch.save(content, file)
    return file


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run that was saved at 2, 4 and 6, with a loss for each of 7 steps."""
    folder = RunFolder(tmp_path / f"smoke-{IDENTITY}")
    for step in (2, 4, 6):
        checkpoint(folder, step)
        folder.note_saved(step)
    folder.metrics.keep_until(0)
    for step in range(1, 8):
        folder.metrics.append({"step": step, "loss": 0.5})
    return folder


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[[RunFolder], str]:
    def go(folder: RunFolder, at_most: int = 10) -> str:
        capsys.readouterr()
        recover(folder, at_most)
        return capsys.readouterr().out

    return go


def test_of_a_sound_run_nothing_is_told(folder: RunFolder, told: Callable[..., str]) -> None:
    assert told(folder) == "" and folder.latest_checkpoint() == 6


@pytest.mark.parametrize("harm", ["emptied", "cut off", "replaced", "flipped"])
@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_newest_checkpoint_is_set_aside(
    folder: RunFolder, told: Callable[..., str], harm: str, seed: int
) -> None:
    file = folder.checkpoint(6)
    content = HARMS[harm](file.read_bytes(), random.Random(seed))
    file.write_bytes(content)
    said = told(folder)
    if harm == "flipped" and not said:  # in bytes between the parts of the file
        assert torch.load(file, weights_only=True)["global_step"] == 6
        return
    assert f"warning: {file} is " in said and "and is now called 000006.ckpt.damaged" in said
    assert "going on from step 4; the result will be the same" in said
    assert folder.latest_checkpoint() == 4
    assert file.with_name("000006.ckpt.damaged").read_bytes() == content
    assert told(folder) == f"warning: {file} is gone: going on from step 4\n"


def test_when_none_is_sound_it_begins_again(folder: RunFolder, told: Callable[..., str]) -> None:
    for step in (2, 4, 6):
        folder.checkpoint(step).write_bytes(b"")
    assert "starting from step 0 again; the result will be the same" in told(folder)
    assert folder.checkpoint_steps() == []


def test_one_of_another_step_or_run_is_not_used(folder: RunFolder, told: Callable[..., str]) -> None:
    checkpoint(folder, 6, of_step=4)
    checkpoint(folder, 4, run="ba9876543210")
    said = told(folder)
    assert "000006.ckpt is the checkpoint of step 4, and" in said
    assert "000004.ckpt is a checkpoint of run ba9876543210, and" in said
    assert "going on from step 2" in said


def test_a_deleted_checkpoint_is_told(folder: RunFolder, told: Callable[..., str]) -> None:
    folder.checkpoint(6).unlink()
    assert told(folder) == f"warning: {folder.checkpoint(6)} is gone: going on from step 4\n"
    assert told(folder, at_most=4) == ""  # it is not needed
    for step in (2, 4):
        folder.checkpoint(step).unlink()
    assert "is gone: starting from step 0 again" in told(folder)


def test_of_an_older_release_the_finished_steps_tell_what_is_gone(folder: RunFolder, told: Callable[..., str]) -> None:
    (folder.root / "checkpoints" / "newest.json").unlink()
    folder.checkpoint(6).unlink()
    assert told(folder) == ""
    folder.deliverables(6).mkdir(parents=True)
    (folder.deliverables(6) / "summary.json").write_text("{}")
    assert "000006.ckpt is gone: going on from step 4" in told(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}", "\0"])
@pytest.mark.parametrize("name", ["arithmetic.json", "base_validation.json", "stopped.json", "held_out/000004.json"])
def test_damaged_notes_are_told_with_what_follows(
    folder: RunFolder, told: Callable[..., str], name: str, content: str
) -> None:
    file = folder.root / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(content)
    said = told(folder)
    if (name, content) in {("held_out/000004.json", "[]"), ("held_out/000004.json", "{}")}:
        return  # nothing was held out
    assert said.startswith(f"warning: {file} ") and said.count("\n") == 1
    assert not file.exists() and told(folder) == ""


def test_a_best_adapter_that_changed_by_a_bit_is_not_delivered(folder: RunFolder, told: Callable[..., str]) -> None:
    file = folder.best_adapter(4)
    file.parent.mkdir()
    content = bytearray(sealed(save({"x": torch.randn(30)})))
    file.write_bytes(content)
    assert told(folder) == ""
    content[-5] ^= 1
    file.write_bytes(content)
    assert "000004.safetensors is damaged: the adapter of that step cannot be delivered" in told(folder)
    assert not file.exists()


def test_lost_rows_of_the_losses_are_told(folder: RunFolder, told: Callable[..., str]) -> None:
    lines = folder.metrics.path.read_bytes().split(b"\n")
    lines[2], lines[3] = b"\xff\x00,,,", b"2," + lines[3][2:]
    folder.metrics.path.write_bytes(b"\n".join(lines))
    assert [row["step"] for row in folder.metrics.rows()] == [1, 2, 4, 5, 6, 7]
    assert "metrics.csv lacks 1 of the first 6 steps: the loss curve has a gap there" in told(folder)


def test_what_was_set_aside_goes_when_the_run_is_finished_but_not_a_whole_checkpoint(
    folder: RunFolder, told: Callable[..., str]
) -> None:
    folder.checkpoint(6).write_bytes(b"cut off")
    checkpoint(folder, 4, run="ba9876543210")  # somebody's, put there by mistake
    folder.arithmetic.write_text("{")
    told(folder)
    checkpoints = folder.checkpoint(6).parent

    def left() -> set[str]:
        return {file.name for file in folder.root.rglob("*.damaged")}

    assert left() == {"000004.ckpt.damaged", "000006.ckpt.damaged", "arithmetic.json.damaged"}
    remove_set_aside(folder.root, 5)
    assert left() == {"000004.ckpt.damaged", "000006.ckpt.damaged"}
    remove_set_aside(folder.root, 6)
    assert left() == {"000004.ckpt.damaged"} and {"000002.ckpt"} < {file.name for file in checkpoints.iterdir()}


def test_facts_that_cannot_be_read_are_none(folder: RunFolder) -> None:
    folder.note_facts({"identity": IDENTITY})
    assert folder.facts() == {"identity": IDENTITY}
    (folder.root / "identity.json").write_text("{")
    assert folder.facts() == {}
