from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from emote.tools.pretraining.loop import Draw, Losses, Span, draw_at, fit, power_decay, power_exponent


@pytest.fixture(autouse=True)
def denormals() -> Iterator[None]:
    """`fit` flushes numbers near zero, for the whole process."""
    yield
    torch.set_flush_denormal(False)


CPU = torch.device("cpu")


class Learner:
    """A small regression whose batches are drawn from the step's numbers; it may be interrupted at a step."""

    def __init__(self, stop_at: int | None = None, poison_at: int | None = None) -> None:
        torch.manual_seed(5)
        self.model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.LayerNorm(8), torch.nn.Linear(8, 1))
        self.stop_at = stop_at
        self.poison_at = poison_at
        self.seen: list[int] = []

    def losses_at(self, model: torch.nn.Module, batch: int, step: int, draw: Draw) -> Losses:
        if step == self.stop_at:
            raise KeyboardInterrupt
        self.seen.append(step)
        inputs = draw.normal(batch, 4)
        error = model(inputs.to(next(model.parameters()).dtype)).float() - inputs.sum(dim=1, keepdim=True)
        poison = float("nan") if step == self.poison_at else 1.0
        return {"square": error.square().mean() * poison, "absolute": 0.1 * error.abs().mean()}

    def fit(self, work: Path, **changes: Any) -> Any:
        values: dict[str, Any] = {"span": Span(steps=23), "learning_rate": 0.01, "warmup_steps": 5, "batch": 16,
                                  "save_every_seconds": 0.0, "seed": 3}  # fmt: skip
        return fit("stage", self.model, self.losses_at, work=work, **(values | changes))


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("stop_at", [3, 13])
def test_an_interrupted_stage_goes_on_to_the_same_bits(tmp_path: Path, stop_at: int) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    expected = Learner().fit(tmp_path / "whole").states
    with pytest.raises(KeyboardInterrupt):
        Learner(stop_at).fit(tmp_path / "broken")
    resumed = Learner()
    found = resumed.fit(tmp_path / "broken").states
    assert resumed.seen[0] == stop_at
    assert found.keys() == expected.keys() == {"ema_0.05", "ema_0.10", "last"}
    assert all(equal(found[key], expected[key]) for key in expected)


def test_a_finished_stage_is_not_trained_again(tmp_path: Path) -> None:
    expected = Learner().fit(tmp_path).states
    again = Learner()
    assert equal(again.fit(tmp_path).states["ema_0.05"], expected["ema_0.05"]) and again.seen == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_loss_falls_in_either_type_and_averages_are_near_the_weights(tmp_path: Path, dtype: torch.dtype) -> None:
    learner = Learner()

    def loss() -> float:
        return float(learner.losses_at(learner.model, 256, 1000, draw_at(3, 1000, CPU))["square"])

    fresh = loss()
    learner.model.load_state_dict(learner.fit(tmp_path, span=Span(steps=200), dtype=dtype).states["ema_0.10"])
    assert loss() < fresh / 4
    assert all(p.dtype == torch.float32 for p in learner.model.parameters())


def test_a_loss_that_is_no_number_costs_some_steps_and_not_the_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emote.tools.pretraining.loop.LOG_EVERY_SECONDS", 0.0)
    fitted = Learner(poison_at=10).fit(tmp_path, span=Span(steps=60))
    assert fitted.steps == 60
    assert all(bool(v.isfinite().all()) for state in fitted.states.values() for v in state.values())


def test_a_span_of_seconds_ends_in_time(tmp_path: Path) -> None:
    fitted = Learner().fit(tmp_path, span=Span(seconds=0.3))
    assert 0.3 <= fitted.seconds < 3 and fitted.steps > 1 and fitted.samples == 16 * fitted.steps


def test_progress_is_by_what_ends_first() -> None:
    assert Span(steps=10).progress(5, 1e9) == 0.5
    assert Span(seconds=8).progress(10**9, 2) == 0.25
    assert Span(steps=10, seconds=100).progress(9, 10) == 0.9
    assert Span().progress(0, 0) == 1


def test_the_learning_rate_warms_up_stays_and_falls_to_zero(tmp_path: Path) -> None:
    model = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    places: list[float] = []

    def losses_at(model: torch.nn.Module, batch: int, step: int, draw: Draw) -> Losses:
        places.append(next(model.parameters()).item())
        return {"slope": next(model.parameters()).sum()}  # a constant gradient: Adam moves by the rate itself

    fit(
        "slope", model, losses_at, span=Span(steps=40), batch=1, learning_rate=0.01, work=tmp_path, seed=0,
        warmup_steps=4, decay_share=0.25, weight_decay=0.0, dtype=torch.float32,
    )  # fmt: skip
    places.append(next(model.parameters()).item())
    rates = [before - after for before, after in itertools.pairwise(places)]
    expected = [0.0025, 0.005, 0.0075, *[0.01] * 28, *[0.01 * left / 10 for left in range(9, 0, -1)]]
    assert rates == pytest.approx(expected, rel=1e-4)


def test_the_average_sees_the_width_that_it_is_named_after() -> None:
    """EDM2: the standard deviation of the averaging profile over the training is the width."""
    steps, width = 4000, 0.1
    weights = torch.ones(1, dtype=torch.float64)
    for step in range(2, steps + 1):
        decay = power_decay(step, width)
        weights = torch.cat([weights * decay, torch.tensor([1 - decay], dtype=torch.float64)])
    places = torch.arange(1, steps + 1) / steps
    mean = float((weights * places).sum())
    deviation = float((weights * (places - mean).square()).sum().sqrt())
    assert deviation == pytest.approx(width, rel=0.01)
    assert power_exponent(0.05) > power_exponent(0.1)


def test_every_step_and_seed_has_numbers_of_its_own() -> None:
    drawn = {float(draw_at(seed, step, CPU).normal(1)) for seed in range(3) for step in range(100)}
    assert len(drawn) == 300
