"""What going on elsewhere needs: kept beside a snapshot, found on a disk or on the Hub, brought where it is wanted."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from emote.config import Config
from emote.hub.resume import fetch_run, keep_for_resume
from emote.runs.run_folder import RunFolder
from emote.util.errors import ConfigError
from emote.util.files import write_json
from tests.hub_fixtures import hub
from tests.hub_server import HubServer

__all__ = ["hub"]

NAME = "smoke-0123456789ab"
Wanting = Callable[[Path | str], Config]


def checkpoint(step: int) -> bytes:
    """A sound one, as torch packs it: a zip."""
    with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
        archive.writestr(zipfile.ZipInfo("step"), str(step))
    return file.getvalue()


@pytest.fixture
def there(tmp_path: Path) -> RunFolder:
    """A run that stands at step 4, with checkpoints of 2 and 4."""
    folder = RunFolder(tmp_path / "there" / NAME)
    folder.metrics.path.parent.mkdir(parents=True)
    folder.metrics.keep_until(0)
    for step, held_out in ((1, None), (2, 0.3), (3, None), (4, 0.5)):
        row = {"step": step, "loss": 0.1 * step} | ({"validation_loss": held_out} if held_out else {})
        folder.metrics.append(row)
    for step in (2, 4):
        folder.checkpoint(step).parent.mkdir(exist_ok=True)
        folder.checkpoint(step).write_bytes(checkpoint(step))
        folder.best_adapter(step).parent.mkdir(exist_ok=True)
        folder.best_adapter(step).write_bytes(b"adapter %d" % step)
    write_json(folder.root / "arithmetic.json", {"mixed": False})
    return folder


@pytest.fixture
def here(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "here" / NAME)


@pytest.fixture
def wanting(make_config: Callable[..., Config]) -> Wanting:
    return lambda place: make_config("experiment=smoke", f"resume_from='{place}'")


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_last_checkpoint_up_to_a_step_is_kept_with_its_rows_and_the_best_adapter(there: RunFolder) -> None:
    kept = keep_for_resume(there, 3, NAME)
    assert set(files(kept)) == {
        "checkpoints/000002.ckpt", "best/000002.safetensors", "metrics.csv", "arithmetic.json", "run.json"
    }  # fmt: skip
    assert [row["step"] for row in RunFolder(kept).metrics.rows()] == [1, 2]
    there.checkpoint(2).unlink()
    assert (kept / "checkpoints" / "000002.ckpt").read_bytes() == checkpoint(2)  # pruning does not take it away


def test_before_the_first_checkpoint_there_is_nothing_to_keep(there: RunFolder) -> None:
    assert not keep_for_resume(there, 1, NAME).exists()


def test_a_directory_of_a_run_or_what_was_pushed_of_it_is_brought_over(
    there: RunFolder, here: RunFolder, wanting: Wanting, tmp_path: Path
) -> None:
    fetch_run(wanting(there.root), here, NAME)
    assert here.latest_checkpoint(at_most=99) == 4 and here.checkpoint(4).read_bytes() == checkpoint(4)
    assert [row["step"] for row in here.metrics.rows()] == [1, 2, 3, 4]
    keep_for_resume(there, 3, NAME)
    downloaded = RunFolder(tmp_path / "third" / NAME)
    fetch_run(wanting(there.snapshot(3)), downloaded, NAME)
    assert downloaded.checkpoint_steps() == [2] and not (downloaded.root / "run.json").exists()


def test_a_machine_that_is_further_goes_on_with_its_own(
    there: RunFolder, here: RunFolder, wanting: Wanting, capsys: pytest.CaptureFixture[str]
) -> None:
    here.checkpoint(5).parent.mkdir(parents=True)
    here.checkpoint(5).write_bytes(checkpoint(5))
    fetch_run(wanting(there.root), here, NAME)
    assert here.checkpoint_steps() == [5]
    assert "is at step 4, and this machine at step 5: going on with its own" in capsys.readouterr().out


def test_another_run_is_refused_by_the_keys_that_differ(there: RunFolder, here: RunFolder, wanting: Wanting) -> None:
    other = "smoke-ba9876543210"
    with pytest.raises(ConfigError, match="their images, base weights or settings differ"):
        fetch_run(wanting(there.root), here, other)
    step = there.deliverables(4)
    step.mkdir(parents=True)
    (step / "config.yaml").write_text(yaml.safe_dump({"seed": 7}))
    (step / "summary.json").write_text("{}")
    with pytest.raises(ConfigError, match=rf"is run {NAME}, and what was typed is run {other}: seed is 7 there and 42"):
        fetch_run(wanting(there.root), here, other)
    assert not here.root.exists()


def test_a_place_with_nothing_to_go_on_from_is_told(
    here: RunFolder, wanting: Wanting, tmp_path: Path, there: RunFolder
) -> None:
    with pytest.raises(ConfigError, match="is not a directory; for a run on the Hub set hub://"):
        fetch_run(wanting(tmp_path / "nowhere"), here, NAME)
    with pytest.raises(ConfigError, match=r"has nothing to go on from; push with hub\.checkpoints=true"):
        fetch_run(wanting(tmp_path), here, NAME)
    for step in (2, 4):
        there.checkpoint(step).unlink()
    with pytest.raises(ConfigError, match="has no checkpoint"):
        fetch_run(wanting(there.root), here, NAME)


def test_the_hub_says_why_it_does_not_give_it(hub: HubServer, here: RunFolder, wanting: Wanting) -> None:
    with pytest.raises(ConfigError, match=r"resume_from=hub://tester/nothing: .*no repository tester/nothing"):
        fetch_run(wanting("hub://tester/nothing"), here, NAME)
    hub.stop()
    with pytest.raises(ConfigError, match=r"cannot be reached.*try again later"):
        fetch_run(wanting("hub://tester/style"), here, NAME)


def test_a_single_checkpoint_says_which_directory_to_name(tmp_path: Path) -> None:
    from emote.hub.resume import _found

    file = tmp_path / "smoke-0123456789ab" / "checkpoints" / "000006.ckpt"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x")
    with pytest.raises(ConfigError, match=f"is a single checkpoint; name its run's directory: {file.parents[1]}$"):
        _found(str(file), tmp_path)


def test_a_renamed_run_that_does_not_tell_its_identity_is_refused(tmp_path: Path) -> None:
    from emote.hub.resume import _found

    (tmp_path / "my best" / "checkpoints").mkdir(parents=True)
    with pytest.raises(ConfigError, match="does not say which run it is, and its directory was renamed"):
        _found(str(tmp_path / "my best"), tmp_path)
