"""Runs that train together learn what each would learn alone, and leave what each would leave alone."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from emote.command_line import compose_config
from emote.config import Config, Engine, Schedule, problems
from emote.model import components
from emote.model.adapter import attach, trainable
from emote.training.module import LoraModule
from emote.training.packed import Part, run_together
from emote.training.packed_module import PackedModule
from emote.training.packed_unet import pack, share_frozen
from emote.training.run import run
from tests.experiments.conftest import cache as cache
from tests.experiments.conftest import pictures as pictures
from tests.experiments.conftest import tiny_words as tiny_words

ADAPTER = "pytorch_lora_weights.safetensors"
MEMBERS = (
    {"lora.rank": 2, "lora.alpha": 2.0, "trainer.learning_rate": 1e-3},
    {"lora.rank": 4, "lora.alpha": 1.0, "trainer.learning_rate": 3e-3},
    {"lora.rank": 3, "lora.alpha": 6.0, "trainer.learning_rate": 5e-4, "lora.seed": 7},
)
Maker = Callable[..., Config]


def together(configs: Sequence[Config]) -> list[Part]:
    packed = [replace(config, sweep=replace(config.sweep, pack=True)) for config in configs]
    parts = [Part(config, ["packed"], f"member {number}") for number, config in enumerate(packed)]
    run_together(parts)
    return parts


def path_of(part: Part) -> Path:
    if isinstance(part.outcome, Exception):
        raise part.outcome
    assert part.outcome is not None
    return part.outcome


def change(path: Path) -> dict[str, torch.Tensor]:
    """B A of each layer: what the adapter adds to the weights, but for its scale."""
    state = load_file(path / ADAPTER)
    return {
        name: state[name.replace("lora_A", "lora_B")].flatten(1) @ down.flatten(1)
        for name, down in state.items()
        if "lora_A" in name
    }


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Relative distance of two sets of tensors."""
    assert one.keys() == other.keys()
    squared = sum(float((one[name] - other[name]).double().norm() ** 2) for name in one)
    return (squared / sum(float(tensor.double().norm() ** 2) for tensor in one.values())) ** 0.5


def gradients(module: LoraModule) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in trainable(module.unet).items() if p.grad is not None}


def metrics(path: Path) -> list[dict[str, str]]:
    with open(path / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def files(folder: Path) -> set[str]:
    """Names of all that a run left, but for the adapter that was the best on the way."""
    there = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return {name for name in there if "best" not in name}


def relative(one: str, other: str) -> float:
    return abs(float(one) / float(other) - 1)


@pytest.fixture(scope="session")
def recipe(tiny_words: list[str]) -> Config:
    often = ["callbacks.checkpoint.every_steps=1", "callbacks.validation.every_steps=2"]
    return compose_config(["experiment=best", *tiny_words, *often])


@pytest.fixture
def make(recipe: Config, tmp_path: Path) -> Maker:
    """`make({"lora.rank": 2})`: the recipe with other values."""

    def changed(*changes: dict[str, Any]) -> Config:
        config = replace(recipe, run=replace(recipe.run, dir=str(tmp_path / "runs")))
        for name, value in (item for change in changes for item in change.items()):
            config = with_value(config, name, value)
        return config

    return changed


def with_value(config: Any, name: str, value: object) -> Any:
    first, _, rest = name.partition(".")
    return replace(config, **{first: with_value(getattr(config, first), rest, value) if rest else value})


def over_one_base(configs: Sequence[Config], base: Path) -> tuple[Any, list[LoraModule]]:
    """The base's UNet, and a module a configuration over its weights, with an adapter that does something already."""
    frozen, modules = components.load_unet(base), []
    for config in configs:
        unet = share_frozen(frozen)
        attach(unet, config.lora)
        for name, parameter in trainable(unet).items():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.05, generator=torch.Generator().manual_seed(len(name)))
        scheduler = components.load_scheduler(base)
        modules.append(LoraModule(unet, scheduler, torch.zeros(32, 16), config.trainer, config.seed, 4).train())
    return frozen, modules


def batch(size: int = 4) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    mean, embedding = (torch.randn(size, *shape, generator=generator) for shape in ((4, 8, 8), (32, 16)))
    return {"mean": mean, "logvar": torch.full_like(mean, -4), "embedding": embedding, "position": torch.arange(size)}


@pytest.mark.parametrize("values", [{"lora.targets": "all"}, {"lora.dropout": 0.3}], ids=["all layers", "dropout"])
def test_loss_and_gradients_of_one_pass_are_those_of_separate_passes(
    make: Maker, tiny_sd: Path, values: dict[str, Any]
) -> None:
    frozen, modules = over_one_base([make(member, values) for member in MEMBERS], tiny_sd)
    alone = []
    for module in modules:
        module.training_step(batch(), 0).backward()
        alone.append((module.take_loss(), gradients(module)))
        module.zero_grad()
    packed = PackedModule(modules, frozen, components.load_scheduler(tiny_sd))
    packed.training_step(batch(), 0).backward()
    for module, (loss, wanted) in zip(modules, alone, strict=True):
        assert module.take_loss() == pytest.approx(loss, rel=1e-5)
        assert apart(wanted, gradients(module)) < 1e-5


def test_the_base_model_is_in_memory_once(make: Maker, tiny_sd: Path) -> None:
    frozen, modules = over_one_base([make(member) for member in MEMBERS], tiny_sd)
    unets = [module.unet for module in modules]
    weights = {parameter.data_ptr() for parameter in frozen.parameters()}
    for unet in (*unets, pack(unets, frozen)):
        own = {name for name, parameter in unet.named_parameters() if parameter.data_ptr() not in weights}
        assert own == set(trainable(unet))


def test_after_twenty_steps_adapters_are_those_of_separate_runs(make: Maker) -> None:
    common = {
        "trainer.max_steps": 20, "trainer.max_micro_batch": 2, "trainer.max_grad_norm": 0.05,
        "trainer.schedule": Schedule.cosine, "trainer.warmup_steps": 3, "trainer.schedule_steps": 30,
        "callbacks.checkpoint.every_steps": 10, "callbacks.validation.every_steps": 10,
        "callbacks.samples.prompts": [],
    }  # fmt: skip
    configs = [make(common, member) for member in MEMBERS]
    alone = [run(config, ["alone"]) for config in configs]
    packed = [path_of(part) for part in together(configs)]
    for one, other in zip(alone, packed, strict=True):
        assert apart(change(one), change(other)) < 1e-2
        mine, theirs = metrics(one), metrics(other)
        for name in ("loss", "grad_norm"):
            assert relative(mine[0][name], theirs[0][name]) < 1e-5
        assert [row["learning_rate"] for row in mine] == [row["learning_rate"] for row in theirs]
        assert relative(mine[-1]["validation_loss"], theirs[-1]["validation_loss"]) < 1e-3
        assert one.parent.parent.name != other.parent.parent.name
        assert files(one.parent.parent) == files(other.parent.parent)


def test_one_that_is_no_number_any_more_disturbs_no_other(make: Maker, tiny_sd: Path) -> None:
    frozen, modules = over_one_base([make(member) for member in MEMBERS], tiny_sd)
    packed = PackedModule(modules, frozen, components.load_scheduler(tiny_sd))
    packed.training_step(batch(), 0).backward()
    wanted = [gradients(module) for module in modules]
    packed.zero_grad()
    packed.forget_losses()
    next(p for name, p in trainable(modules[1].unet).items() if "lora_B" in name).data.fill_(torch.nan)
    packed.training_step(batch(), 0).backward()
    packed.on_after_backward()
    for number in (0, 2):
        assert apart(wanted[number], gradients(modules[number])) < 1e-5
    assert not gradients(modules[1])


@pytest.mark.slow
def test_who_lags_behind_catches_up_and_all_go_on_together(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    seldom = {"callbacks.checkpoint.every_steps": 10}
    first, second = ({**member, **seldom} for member in MEMBERS[:2])
    together([make(first, {"trainer.max_steps": 2})])
    parts = together([make(first, {"trainer.max_steps": 4}), make(second, {"trainer.max_steps": 3})])
    said = capsys.readouterr().out
    assert "steps 1 to 2 of member 1\n" in said
    assert "steps 3 to 3 of member 0; member 1\n" in said and "steps 4 to 4 of member 0\n" in said
    for part, member in zip(parts, (first, second), strict=True):
        alone = run(make(member, {"trainer.max_steps": part.config.trainer.max_steps}), ["alone"])
        assert apart(change(alone), change(path_of(part))) < 1e-2
        assert [row["step"] for row in metrics(alone)] == [row["step"] for row in metrics(path_of(part))]


def test_what_was_lost_after_training_is_written_again_without_training(
    make: Maker, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make(MEMBERS[0], {"trainer.max_steps": 2})
    path = path_of(together([config])[0])
    learned = load_file(path / ADAPTER)
    shutil.rmtree(path)
    capsys.readouterr()
    assert apart(learned, load_file(path_of(together([config])[0]) / ADAPTER)) == 0
    assert "steps 1 to" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("key", "value"),
    [("trainer.devices", 2), ("launcher.engine", Engine.slurm), ("hub.push", True), ("resume_from", "hub://me/mine")],
)
def test_what_does_not_go_together_is_told(make: Maker, key: str, value: object) -> None:
    (problem,) = problems(make({"sweep.pack": True, key: value}))
    assert problem.startswith("sweep.pack=true") and f"{key}=" in problem


def test_a_micro_batch_is_tried_with_all_of_them(make: Maker, tiny_sd: Path) -> None:
    frozen, modules = over_one_base([make(member) for member in MEMBERS], tiny_sd)
    packed = PackedModule(modules, frozen, components.load_scheduler(tiny_sd))
    assert len(trainable(packed.unet)) == sum(len(trainable(module.unet)) for module in modules)
    packed.training_step(batch(2), 0).backward()
    assert all(p.grad is not None for p in trainable(packed.unet).values())
    packed.forget_losses()
    packed.training_step(batch(), 0)
    losses = [module.take_loss() for module in modules]
    packed.training_step(batch(), 0)
    assert [module.take_loss() for module in modules] == losses
