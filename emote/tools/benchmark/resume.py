"""Whether training that is interrupted and goes on ends with the same bits, on the device at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Subset

from emote.lora.adapter import adapter_state, attach, load_adapter_state
from emote.models import components
from emote.tools.benchmark.base import random_unet
from emote.tools.benchmark.measure import lora_config, sizes_of, trainer_config
from emote.tools.gpu_check.steps import RandomRows
from emote.training.module import LoraModule
from emote.training.precision import AtomicCheckpointIO, precision_plugin

STEPS = 10


def compare_bits(
    base: Path,
    pixels: int,
    batch: int,
    dtype: torch.dtype,
    device: torch.device,
    folder: Path,
    micro: int | None = None,
) -> dict[str, Any]:
    """Train 10 steps twice, and 5 + 5 through a checkpoint in `folder`, with the trainer's own parts.

    repeated, resumed: whether the adapter has the same bits as after the first 10 steps; beside them the largest
    difference of a weight.
    """
    torch.manual_seed(0)
    unet = random_unet(base, dtype, device)
    attach(unet, lora_config())
    unet.to(device)
    start = adapter_state(unet)
    sizes = sizes_of(base, pixels)
    rows = RandomRows(STEPS * batch, sizes.latent, sizes.text)
    checkpoint = folder / "half_way.ckpt"

    def train(first: int, last: int, save: bool = False) -> dict[str, torch.Tensor]:
        load_adapter_state(unet, start)
        config = trainer_config(batch, STEPS)
        module = LoraModule(unet, components.load_scheduler(base), torch.zeros(*sizes.text), config, seed=0).train()
        trainer = pl.Trainer(
            accelerator="gpu" if device.type == "cuda" else device.type, devices=1, max_steps=last, max_epochs=-1,
            plugins=[precision_plugin(dtype, device), AtomicCheckpointIO(folder.name)],
            logger=False, enable_progress_bar=False,
            accumulate_grad_batches=batch // (micro or batch), enable_model_summary=False, enable_checkpointing=False,
            default_root_dir=folder, callbacks=[_Forget()],
        )  # fmt: skip
        loader = DataLoader(Subset(rows, range(first * batch, last * batch)), batch_size=micro or batch)
        trainer.fit(module, loader, ckpt_path=checkpoint if first else None, weights_only=True)
        if save:
            trainer.save_checkpoint(checkpoint)
        module.to(device)
        return adapter_state(unet)

    whole, again = train(0, STEPS), train(0, STEPS)
    train(0, STEPS // 2, save=True)
    resumed = train(STEPS // 2, STEPS)
    return {
        "repeated": _equal(whole, again), "repeated_difference": _difference(whole, again),
        "resumed": _equal(whole, resumed), "resumed_difference": _difference(whole, resumed),
        "moved": _difference(whole, start),
    }  # fmt: skip


class _Forget(pl.Callback):
    """Losses add up until they are taken."""

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if isinstance(pl_module, LoraModule):
            pl_module.forget_losses()


def _equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def _difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a)
