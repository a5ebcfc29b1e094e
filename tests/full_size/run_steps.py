"""Two training steps of a Stable Diffusion in a process of its own: `python -m tests.full_size.run_steps <model>`."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import torch

from emote.config import TrainerConfig
from emote.lora.adapter import attach, trainable
from emote.models import components
from emote.models.precision import Decision
from emote.runs.environment import peak_memory_bytes
from emote.tools.gpu_check.findings import CheckConfig
from emote.tools.gpu_check.steps import RandomRows, trainer_config
from emote.training.module import LoraModule
from emote.training.preflight.work import count_work
from tests.full_size.sd15 import describe
from tests.models.helpers import lora_config

RESOLUTION, BATCH = 128, 1


def main(model: Path) -> None:
    lora = lora_config(rank=8, alpha=8.0)
    work = count_work(model, lora, RESOLUTION, BATCH, torch.float32)
    decision = Decision(torch.device("cpu"), torch.float32, "")
    before = psutil.Process().memory_info().rss
    unet = components.load_unet(model)
    attach(unet, lora)
    config: TrainerConfig = trainer_config(CheckConfig(steps=2, batch=BATCH, resolution=RESOLUTION))
    module = LoraModule(unet, components.load_scheduler(model), torch.zeros(*work.text_shape), config, seed=0).train()
    parameters = trainable(unet)
    started = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-4)
    rows = RandomRows(2, work.latent_shape, work.text_shape)
    losses = []
    for step in range(2):
        loss = module.training_step({name: value[None] for name, value in rows[step].items()}, step)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    describe(
        losses=losses,
        moved=sum(not torch.equal(started[name], parameters[name]) for name in parameters),
        tensors=len(parameters),
        dtypes=sorted({str(parameter.dtype) for parameter in unet.parameters()}),
        frozen_with_gradient=sum(p.grad is not None for n, p in unet.named_parameters() if n not in parameters),
        used_bytes=int(peak_memory_bytes(decision.device)["host"] or 0) - before,
        estimated_bytes=work.memory["train"],
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
