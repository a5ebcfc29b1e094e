from __future__ import annotations

from pathlib import Path

import pytest
import torch

from emote.tools import fuzz_runs, kill_runs


@pytest.fixture(scope="module")
def sound(tiny_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> fuzz_runs.Sound:
    torch.set_num_threads(1)  # as in the tests: bits depend on it
    words = [f"model.path={tiny_sd}", "model.resolution=32"]
    return fuzz_runs.make_sound(tmp_path_factory.mktemp("sound"), words)


@pytest.mark.parametrize("seed", range(6))
def test_a_damaged_run_goes_on_to_the_same_adapter_or_is_refused(
    sound: fuzz_runs.Sound, seed: int, tmp_path: Path
) -> None:
    assert fuzz_runs.try_damage(tmp_path / "runs", seed, sound) in ("went on", "began again", "refused")


def test_damage_that_nobody_tells_is_noticed(
    sound: fuzz_runs.Sound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz_runs, "damage", lambda root, _: {Path("arithmetic.json"): "emptied"})
    with pytest.raises(AssertionError, match=r"nothing is said of arithmetic\.json"):
        fuzz_runs.try_damage(tmp_path / "runs", 0, sound)


@pytest.mark.slow
def test_killed_at_random_moments_with_damage_the_adapter_is_the_same(tiny_sd: Path, tmp_path: Path) -> None:
    words = [f"model.path={tiny_sd}", "model.resolution=32"]
    told = kill_runs.kill_and_compare(tmp_path, words, count=4, damaged=2, seed=3)
    assert told["different"] == 0 and told["killed"] + told["finished before"] == 4
