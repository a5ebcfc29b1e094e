"""What training together costs and gains: time and memory of several ranks in one pass, and one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from statistics import median
from typing import Any

import torch
from diffusers import UNet2DConditionModel

from emote.config import Config
from emote.model import components
from emote.model.adapter import attach
from emote.training.environment import peak_memory_bytes, reset_peak_memory
from emote.training.module import LoraModule
from emote.training.packed_module import PackedModule
from emote.training.packed_unet import share_frozen

WORDS = 77  # of a caption, as the text encoders have it


@dataclass(frozen=True)
class Costs:
    """Of an optimizer step of all ranks together, and of each alone: the sum of seconds, and the most memory.

    Bytes are the largest resident size of a process that does nothing else.  base_bytes: of the frozen weights.
    """

    together_s: float
    apart_s: float
    together_bytes: int
    alone_bytes: int
    base_bytes: int


def measure(config: Config, ranks: Sequence[int], batch: int, steps: int) -> Costs:
    """On the CPU. Both ways take turns, so that what else the machine does slows them alike."""
    members, frozen = _members(config, ranks)
    rows = _rows(frozen.config, batch)
    scheduler = components.load_scheduler(components.locate(config.model))
    ways: list[list[LoraModule]] = [[PackedModule(members, frozen, scheduler)], members]
    stepping = [[_stepping(module, rows) for module in way] for way in ways]
    seconds: list[list[float]] = [[], []]
    for _ in range(steps + 1):
        for way, steps_of_way in enumerate(stepping):
            began = time.perf_counter()
            for step in steps_of_way:
                step()
            seconds[way].append(time.perf_counter() - began)
    together_s, apart_s = (median(found[1:]) for found in seconds)  # the first ones also allocate
    together_bytes, alone_bytes = (_peak_bytes(config, some, batch) for some in (ranks, [max(ranks)]))
    base_bytes = sum(parameter.numel() * parameter.element_size() for parameter in frozen.parameters())
    return Costs(together_s, apart_s, together_bytes, alone_bytes, base_bytes)


def _members(config: Config, ranks: Sequence[int]) -> tuple[list[LoraModule], UNet2DConditionModel]:
    base = components.locate(config.model)
    frozen, scheduler = components.load_unet(base), components.load_scheduler(base)
    empty_TD, members = torch.zeros(WORDS, frozen.config.cross_attention_dim), []
    for rank in ranks:
        unet = share_frozen(frozen)
        attach(unet, replace(config.lora, rank=rank, alpha=float(rank)))
        members.append(LoraModule(unet, scheduler, empty_TD, config.trainer, config.seed).train())
    return members, frozen


def _stepping(module: LoraModule, rows: dict[str, torch.Tensor]) -> Callable[[], None]:
    optimizer = module.configure_optimizers()["optimizer"]

    def step() -> None:
        module.training_step(rows, 0).backward()
        module.configure_gradient_clipping(optimizer)
        optimizer.step()
        optimizer.zero_grad()
        module.forget_losses()

    return step


def _peak_bytes(config: Config, ranks: Sequence[int], batch: int) -> int:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_peak_of_this_process, config, list(ranks), batch).result()


def _peak_of_this_process(config: Config, ranks: list[int], batch: int) -> int:
    reset_peak_memory()
    members, frozen = _members(config, ranks)
    scheduler = components.load_scheduler(components.locate(config.model))
    module = members[0] if len(members) == 1 else PackedModule(members, frozen, scheduler)
    step = _stepping(module, _rows(frozen.config, batch))
    step()
    step()
    peak = peak_memory_bytes(torch.device("cpu"))["host"]
    assert peak is not None
    return peak


def _rows(unet: Any, batch: int) -> dict[str, torch.Tensor]:
    generator, side = torch.Generator().manual_seed(0), unet.sample_size
    mean = torch.randn(batch, unet.in_channels, side, side, generator=generator)
    embedding = torch.randn(batch, WORDS, unet.cross_attention_dim, generator=generator)
    return {
        "mean": mean, "logvar": torch.full_like(mean, -4), "embedding": embedding, "position": torch.arange(batch),
    }  # fmt: skip
