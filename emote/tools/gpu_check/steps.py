"""Stable Diffusion 1.5's UNet with random weights, trained for some steps through the real module and trainer."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pytorch_lightning as pl
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch.utils.data import DataLoader, Dataset

from emote.config import TrainerConfig
from emote.lora.adapter import attach, trainable
from emote.models import components
from emote.models.precision import Decision
from emote.tools.benchmark.base import fill_randomly
from emote.tools.benchmark.measure import lora_config
from emote.tools.benchmark.measure import trainer_config as recipe
from emote.tools.gpu_check.findings import NOT_FUSED, CheckConfig, Measured
from emote.training.module import LoraModule
from emote.training.precision import ScaledFloat32Adapter, precision_plugin
from emote.training.preflight.estimate import SHARE_REACHED, matmul_rate, seconds_of_pass
from emote.training.preflight.work import count_work

# What PyTorch calls its ways to attend
ATTENTION = {
    "_scaled_dot_product_flash_attention": "flash",
    "_scaled_dot_product_efficient_attention": "memory-efficient",
    "_scaled_dot_product_cudnn_attention": "cuDNN",
    "_scaled_dot_product_attention_math": f"plain, {NOT_FUSED}",
}


def measure(config: CheckConfig, decision: Decision, base: Path) -> Measured:
    """Train the UNet of a configuration, with random weights and an adapter of rank 4, on random rows."""
    device = decision.device
    lora = lora_config()
    work = count_work(base, lora, config.resolution, config.batch_size, decision.frozen)
    unet = components.build_empty(UNet2DConditionModel, base, "unet", decision.frozen)
    unet = fill_randomly(unet.to_empty(device=device)).eval()
    attach(unet, lora)
    unet.to(device)
    empty = torch.zeros(*work.text_shape)
    module = LoraModule(unet, components.load_scheduler(base), empty, trainer_config(config), seed=0)
    watch = _Watch(device)
    plugin = precision_plugin(decision.frozen, device)
    trainer = pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else device.type, devices=1, max_steps=config.max_steps,
        max_epochs=-1, callbacks=[watch], plugins=[plugin], logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    rows = RandomRows(config.max_steps * config.batch_size, work.latent_shape, work.text_shape)
    before = {name: p.detach().clone() for name, p in trainable(unet).items()}
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    trainer.fit(module.train(), DataLoader(rows, batch_size=config.batch_size))
    after = {name: p.detach().to(before[name]) for name, p in trainable(unet).items()}
    moved = sum(int((after[name] != before[name]).sum()) for name in before) / work.trainable
    memory: tuple[int | None, int | None] = (None, None)
    if device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)
    rate = SHARE_REACHED * matmul_rate(device, decision.frozen)
    return Measured(
        losses=watch.losses,
        grad_norms=watch.grad_norms,
        finite_weights=all(bool(torch.isfinite(tensor).all()) for tensor in after.values()),
        moved_share=moved,
        seconds_per_step=median(watch.seconds[len(watch.seconds) // 5 :]),
        peak_bytes=memory[0],
        reserved_bytes=memory[1],
        attention=attention_used(module.to(device), rows, config.batch_size),
        skipped_steps=sum(not math.isfinite(norm) for norm in watch.grad_norms),
        final_scale=plugin.scaler.get_scale() if isinstance(plugin, ScaledFloat32Adapter) and plugin.scaler else None,
        estimate={
            "seconds_per_step": seconds_of_pass(work, rate, device), "peak_bytes": work.memory["train"],
            "basis": f"{rate / 1e12:.3g} TFLOP/s, half of what a matrix product reached",
        },
    )  # fmt: skip


class RandomRows(Dataset):
    """Rows as the cache has them, of numbers in the range of Stable Diffusion's; each the same whenever it is read."""

    def __init__(self, count: int, latent_shape: tuple[int, int, int], text_shape: tuple[int, int]) -> None:
        self.count, self.latent_shape, self.text_shape = count, latent_shape, text_shape

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if not 0 <= index < self.count:
            raise IndexError(index)
        generator = torch.Generator().manual_seed(index)
        return {
            "mean": torch.randn(*self.latent_shape, generator=generator),
            "logvar": torch.full(self.latent_shape, -8.0),
            "embedding": torch.randn(*self.text_shape, generator=generator),
            "position": torch.tensor(index),
        }


class _Watch(pl.Callback):
    """Loss, gradient norm before clipping and seconds of each step; steps that loss scaling leaves out count too."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.losses: list[float] = []
        self.grad_norms: list[float] = []
        self.seconds: list[float] = []
        self._began = 0.0

    def on_train_batch_start(self, *_: Any) -> None:
        self._began = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, LoraModule)
        self.losses.append(pl_module.take_loss())  # waits for the device
        self.grad_norms.append(pl_module.grad_norm)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds.append(time.perf_counter() - self._began)


def attention_used(module: LoraModule, rows: Dataset, batch: int) -> str:
    """Which of PyTorch's kernels attend in a step, with how many calls."""
    loaded = next(iter(DataLoader(rows, batch_size=batch)))
    with torch.profiler.profile() as profile:
        module.training_step({name: tensor.to(module.device) for name, tensor in loaded.items()}, 0).backward()
    module.forget_losses()
    module.zero_grad()
    return _named(event.key.removeprefix("aten::") for event in profile.events() or [])


def _named(operations: Iterable[str]) -> str:
    counts: dict[str, int] = {}
    for name in operations:
        for start, kernel in ATTENTION.items():
            if name.startswith(start) and not name.endswith("_backward"):
                counts[kernel] = counts.get(kernel, 0) + 1
    return ", ".join(f"{kernel} ({count} calls)" for kernel, count in counts.items()) or f"none was seen, {NOT_FUSED}"


def trainer_config(config: CheckConfig) -> TrainerConfig:
    """The reported run's recipe, at the size that is checked."""
    return replace(recipe(config.batch_size, config.max_steps), precision=config.precision)
