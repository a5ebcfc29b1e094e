"""Optimizers by their names: parameter groups, options, and those that train other weights than they deliver."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from emote.config import OPTIMIZER, Config, problems
from emote.training.module import parameter_groups
from emote.util.errors import ConfigError
from tests.training.test_run import adapters, losses_of, summary

MakeConfig = Callable[..., Config]
Runner = Callable[..., Path]


class Averaging(torch.optim.SGD):
    """Trains one set of weights and delivers the mean of all that it has had, as schedule-free optimizers do."""

    def __init__(self, groups: list[dict[str, Any]], config: Any) -> None:
        super().__init__(groups, lr=100 * config.learning_rate)
        self.deliverable = False

    def step(self, closure: Any = None) -> Any:
        assert not self.deliverable, "it must train the weights that it trains"
        loss = super().step(closure)
        for parameter in self.parameters():
            self.state[parameter].setdefault("mean", torch.zeros_like(parameter)).lerp_(parameter.detach(), 0.3)
        return loss

    def parameters(self) -> list[torch.nn.Parameter]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def eval(self) -> None:
        self._move(0.9, True)

    def train(self) -> None:
        self._move(-9.0, False)  # the way back, which rounds

    @torch.no_grad()
    def _move(self, weight: float, deliverable: bool) -> None:
        for parameter in self.parameters() if self.deliverable is not deliverable else []:
            if "mean" in self.state[parameter]:
                parameter.lerp_(self.state[parameter]["mean"], weight)
        self.deliverable = deliverable


AVERAGING = {"trainer.optimizer": "{_target_: tests.training.test_optimizers.Averaging}"}


def made(config: Config, **parameters: torch.nn.Parameter) -> torch.optim.Optimizer:
    trainer = config.trainer
    return OPTIMIZER.make(trainer.optimizer, trainer.options)(parameter_groups(parameters, trainer), trainer)


@pytest.fixture
def parameters() -> dict[str, torch.nn.Parameter]:
    return {f"layer.lora_{side}.default.weight": torch.nn.Parameter(torch.ones(4, 4)) for side in "AB"}


@pytest.mark.parametrize("name", ["adamw", "adafactor", "prodigy", "schedule_free"])
def test_every_optimizer_moves_what_has_a_gradient(
    name: str, make_config: MakeConfig, parameters: dict[str, torch.nn.Parameter]
) -> None:
    pytest.importorskip({"prodigy": "prodigyopt", "schedule_free": "schedulefree"}.get(name, "torch"))
    asked = {"trainer.optimizer": name, "trainer.learning_rate": 1 if name == "prodigy" else 3e-4}
    optimizer = made(make_config("experiment=smoke", **asked), **parameters)
    if hasattr(optimizer, "train"):
        optimizer.train()
    for parameter in parameters.values():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert all(bool((parameter < 1).all()) for parameter in parameters.values())


def test_options_reach_the_optimizer(make_config: MakeConfig, parameters: dict[str, torch.nn.Parameter]) -> None:
    config = make_config("experiment=smoke", **{"trainer.options.adamw.amsgrad": "true"})
    assert made(config, **parameters).param_groups[0]["amsgrad"] is True
    assert made(make_config("experiment=smoke"), **parameters).param_groups[0]["amsgrad"] is False


def test_lora_plus_gives_b_a_learning_rate_of_its_own(
    make_config: MakeConfig, parameters: dict[str, torch.nn.Parameter]
) -> None:
    down, up = made(make_config("experiment=smoke", **{"trainer.lora_plus_ratio": 16}), **parameters).param_groups
    assert (down["lr"], up["lr"]) == pytest.approx((3e-4, 16 * 3e-4))
    assert down["params"] == [parameters["layer.lora_A.default.weight"]]
    assert up["params"] == [parameters["layer.lora_B.default.weight"]]


def test_what_is_scored_drawn_and_delivered_are_the_weights_for_that(tiny_run: Runner, tmp_path: Path) -> None:
    rarely = tiny_run(**AVERAGING, **{"callbacks.validation.every_steps": 6})
    often = {**AVERAGING, "callbacks.validation.every_steps": 1, "callbacks.samples.every_steps": 2}
    watched = tiny_run(**often, **{"run.dir": tmp_path / "often"})
    # looking at the delivered weights leaves no trace in those that are trained, not even by rounding
    assert losses_of(watched) == losses_of(rarely) and adapters(watched) == adapters(rarely)
    best = load_file(watched.parent.parent / "best" / "000006.safetensors")
    delivered = load_file(watched / "pytorch_lora_weights.safetensors")
    checkpoint = torch.load(watched.parent.parent / "checkpoints" / "000006.ckpt", weights_only=True)["state_dict"]
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_B"
    assert torch.equal(best[f"{name}.default.weight"], delivered[f"unet.{name}.weight"])
    assert not torch.equal(checkpoint[f"unet.{name}.default.weight"], delivered[f"unet.{name}.weight"])


def test_a_run_with_two_sets_of_weights_resumes_bit_for_bit(tiny_run: Runner, tmp_path: Path) -> None:
    straight = tiny_run(**AVERAGING)
    tiny_run(**AVERAGING, **{"trainer.max_steps": 3, "run.dir": tmp_path / "other"})
    resumed = tiny_run(**AVERAGING, **{"run.dir": tmp_path / "other"})
    assert summary(resumed)["resumed_from_step"] == 3
    assert adapters(resumed) == adapters(straight) and losses_of(resumed) == losses_of(straight)


def test_schedule_free_resumes_bit_for_bit(tiny_run: Runner, tmp_path: Path) -> None:
    pytest.importorskip("schedulefree")
    asked = {"trainer.optimizer": "schedule_free", "trainer.lora_plus_ratio": 4}
    straight = tiny_run(**asked)
    tiny_run(**asked, **{"trainer.max_steps": 3, "run.dir": tmp_path / "other"})
    assert adapters(tiny_run(**asked, **{"run.dir": tmp_path / "other"})) == adapters(straight)


def test_a_missing_package_is_told_before_anything_is_loaded(tiny_run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "schedulefree", None)
    message = "trainer.optimizer=schedule_free needs the package schedulefree: pip install schedulefree"
    with pytest.raises(ConfigError, match=message):
        tiny_run(**{"trainer.optimizer": "schedule_free"})


def test_prodigy_is_told_what_it_cannot_take(make_config: MakeConfig) -> None:
    asked = {"trainer.optimizer": "prodigy", "trainer.lora_plus_ratio": 4}
    first, second = problems(make_config("experiment=smoke", **asked))
    assert first.endswith("must be about 1, got 0.0003; set trainer.learning_rate=1")
    assert second.endswith("got 4.0; set trainer.lora_plus_ratio=null")
