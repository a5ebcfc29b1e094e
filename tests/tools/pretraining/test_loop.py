from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from emote.tools.pretraining.loop import Losses, fit, generator_at


@pytest.fixture(autouse=True)
def denormals() -> Iterator[None]:
    """`fit` flushes numbers near zero, for the whole process."""
    yield
    torch.set_flush_denormal(False)


class Learner:
    """A small regression whose batches are drawn from the step's generator; it may be interrupted at a step."""

    def __init__(self, stop_at: int | None = None) -> None:
        torch.manual_seed(5)
        self.model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 1))
        self.stop_at = stop_at
        self.seen: list[int] = []

    def losses_at(self, step: int, generator: torch.Generator) -> Losses:
        if step == self.stop_at:
            raise KeyboardInterrupt
        self.seen.append(step)
        inputs = torch.randn(16, 4, generator=generator)
        error = self.model(inputs) - inputs.sum(dim=1, keepdim=True)
        return {"square": error.square().mean(), "absolute": 0.1 * error.abs().mean()}

    def fit(self, work: Path, **changes: Any) -> dict[str, torch.Tensor]:
        values: dict[str, Any] = {"steps": 23, "learning_rate": 0.01, "warmup_steps": 5, "save_every_steps": 5}
        return fit("stage", self.model, self.losses_at, work=work, seed=3, **(values | changes))


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("stop_at", [3, 5, 13])
def test_an_interrupted_stage_goes_on_to_the_same_bits(tmp_path: Path, stop_at: int) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    whole = Learner()
    expected = whole.fit(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        Learner(stop_at).fit(tmp_path / "broken")
    resumed = Learner()
    found = resumed.fit(tmp_path / "broken")
    assert resumed.seen[0] == stop_at // 5 * 5
    assert equal(found, expected)
    assert equal(resumed.model.state_dict(), whole.model.state_dict())
    assert [path.name for path in (tmp_path / "broken").iterdir()] == ["stage.ckpt"]


def test_a_finished_stage_is_not_trained_again(tmp_path: Path) -> None:
    expected = Learner().fit(tmp_path)
    again = Learner()
    assert equal(again.fit(tmp_path), expected) and again.seen == []


def test_the_loss_falls_and_the_average_stays_near_the_weights(tmp_path: Path) -> None:
    learner = Learner()
    fresh = learner.losses_at(1000, generator_at(3, 1000))["square"].item()
    learner.model.load_state_dict(learner.fit(tmp_path, steps=200))
    assert learner.losses_at(1000, generator_at(3, 1000))["square"].item() < fresh / 4


def test_the_average_of_a_very_short_stage_is_its_weights(tmp_path: Path) -> None:
    learner = Learner()
    average = learner.fit(tmp_path, steps=4)
    for key, value in learner.model.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(average[key], value)


def test_the_learning_rate_warms_up_stays_and_falls_to_zero(tmp_path: Path) -> None:
    model = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    places: list[float] = []

    def losses_at(step: int, generator: torch.Generator) -> Losses:
        places.append(model.weight.item())
        return {"slope": model.weight.sum()}  # a constant gradient: Adam moves by the learning rate itself

    fit(
        "slope", model, losses_at, steps=40, learning_rate=0.01, work=tmp_path, seed=0,
        warmup_steps=4, decay_share=0.25, weight_decay=0.0,
    )  # fmt: skip
    places.append(model.weight.item())
    rates = [before - after for before, after in itertools.pairwise(places)]
    expected = [0.0025, 0.005, 0.0075, *[0.01] * 28, *[0.01 * left / 10 for left in range(9, 0, -1)]]
    assert rates == pytest.approx(expected, rel=1e-4)


def test_every_step_and_seed_has_numbers_of_its_own() -> None:
    drawn = {
        float(torch.rand(1, generator=generator_at(seed, step), dtype=torch.float64))
        for seed in range(3)
        for step in range(100)
    }
    assert len(drawn) == 300
