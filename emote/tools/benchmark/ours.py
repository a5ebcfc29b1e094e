"""Our training step: as training makes it today, and with what could be saved further."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from emote.config import TrainerConfig
from emote.diffusion import objective
from emote.lora.adapter import trainable
from emote.models.conditioning import predict
from emote.models.precision import DTYPES
from emote.tools.benchmark.adapter_kernels import FastAdapter
from emote.tools.benchmark.arms import Arm, Rung
from emote.tools.benchmark.rows import Sizes, cached_rows
from emote.tools.benchmark.scaling import DeviceScaler, steps_left_out
from emote.training.module import LoraModule

WARM_UP = 3  # passes before a capture, so that libraries have chosen their kernels


class TodayStep:
    """The module of training with its optimizer and clipping, as Lightning calls them."""

    def __init__(
        self, arm: Arm, unet: UNet2DConditionModel, schedule: DDPMScheduler, sizes: Sizes, device: torch.device,
        trainer: TrainerConfig,
    ) -> None:  # fmt: skip
        self.arm, self.device, self.count = arm, device, 0
        trainer = replace(trainer, batch_size=arm.batch)
        self.module = LoraModule(unet, schedule, torch.zeros(*sizes.text), trainer, seed=0).to(device).train()
        self.optimizer = self.module.configure_optimizers()["optimizer"]
        self.scaler = torch.amp.GradScaler(device.type, enabled=DTYPES[arm.precision] is torch.float16)
        self.rows = cached_rows(sizes, arm.batch)

    @property
    def skipped(self) -> int:
        return steps_left_out(self.scaler)

    def __call__(self) -> float:
        """Make a step and return its loss."""
        row = self.rows[self.count % len(self.rows)]
        passes = self.arm.batch // self.arm.micro_batch
        for start in range(0, self.arm.batch, self.arm.micro_batch):
            part = {name: value[start : start + self.arm.micro_batch].to(self.device) for name, value in row.items()}
            self.scaler.scale(self.module.training_step(part, 0) / passes).backward()
        self.scaler.unscale_(self.optimizer)
        self.module.configure_gradient_clipping(self.optimizer)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.count += 1
        return self.module.take_loss()


class FastStep:
    """The same arithmetic without waiting for the device, and with the rungs that the arm has."""

    def __init__(
        self, arm: Arm, unet: UNet2DConditionModel, schedule: DDPMScheduler, sizes: Sizes, device: torch.device,
        trainer: TrainerConfig,
    ) -> None:  # fmt: skip
        self.arm, self.unet, self.device, self.count = arm, unet.train(), device, 0
        self.dtype = DTYPES[arm.precision]
        self.parameters = list(trainable(unet).values())
        self.alphas = schedule.alphas_cumprod.to(device)
        self.limit = trainer.max_grad_norm or float("inf")
        self.scaler = DeviceScaler(device) if self.dtype is torch.float16 else None
        # one kernel a step, which also leaves a step out by a tensor; capturable: its count of steps is a tensor too
        self.optimizer: Any = torch.optim.AdamW(
            self.parameters, lr=trainer.learning_rate, betas=(trainer.betas[0], trainer.betas[1]), eps=trainer.epsilon,
            weight_decay=trainer.weight_decay, fused=True, capturable=device.type == "cuda",
        )  # fmt: skip
        self.adapter = None
        if Rung.adapter_half in arm:
            self.adapter = FastAdapter(unet, fuse=Rung.fused in arm, keep_text=Rung.text_once in arm)
        if Rung.compiled in arm:
            unet.compile_repeated_blocks()
        self.rows = [self._pinned(row) for row in cached_rows(sizes, arm.batch)]
        self.row = {name: value.to(device) for name, value in self.rows[0].items()}
        self.result = torch.zeros(2, device=device)  # loss, and gradient norm before clipping
        # pinned, else the copy waits for the device
        self._read = [torch.zeros(2, pin_memory=device.type == "cuda") for _ in range(2)]
        self._events: list[Any] = []
        self.graph: torch.cuda.CUDAGraph | None = None
        if self.adapter and Rung.text_once in arm:
            self.adapter.remember_text(self.row["embedding"].to(self.dtype))
        if Rung.graph in arm:
            self.graph = self._captured()

    @property
    def skipped(self) -> int:
        return int(self.scaler.skipped) if self.scaler else 0

    def __call__(self) -> float:
        """Start a step and return the loss of the one before it, so that the device always has work."""
        row = self.rows[self.count % len(self.rows)]
        for name, value in row.items():
            self.row[name].copy_(value, non_blocking=True)
        if self.graph is not None:
            self.graph.replay()
        else:
            self._step()
        return self._loss_of_last()

    def gradients(self) -> list[torch.Tensor]:
        """Of one pass over the first row, unclipped and not scaled; for tests."""
        self._backward()
        found = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        if self.scaler:
            self.scaler.unscale(found)
        return found

    def _step(self) -> None:
        self._backward()
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        if self.scaler:
            self.optimizer.found_inf = self.scaler.unscale(gradients)
        self.result[1].copy_(torch.nn.utils.clip_grad_norm_(self.parameters, self.limit))
        self.optimizer.step()
        if self.scaler:
            self.scaler.update()
        if self.adapter:
            self.adapter.refresh()

    def _backward(self) -> None:
        self.optimizer.zero_grad()
        passes = self.arm.batch // self.arm.micro_batch
        total = torch.zeros((), device=self.device)
        for start in range(0, self.arm.batch, self.arm.micro_batch):
            part = {name: value[start : start + self.arm.micro_batch] for name, value in self.row.items()}
            loss = self._loss(part) / passes
            (loss * self.scaler.scale if self.scaler else loss).backward()
            total = total + loss.detach()
        self.result[0].copy_(total)

    def _loss(self, row: dict[str, torch.Tensor]) -> torch.Tensor:
        latents = row["mean"] + (0.5 * row["logvar"]).exp() * row["posterior"]
        noisy = objective.add_noise(latents, row["noise"], row["timesteps"], self.alphas)
        size = (8 * latents.shape[2], 8 * latents.shape[3])
        predicted = predict(self.unet, noisy.to(self.dtype), row["timesteps"], row["embedding"].to(self.dtype), size)
        return objective.squared_error(predicted, row["noise"]).mean()

    def _pinned(self, row: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: value.pin_memory() for name, value in row.items()} if self.device.type == "cuda" else row

    def _loss_of_last(self) -> float:
        here = self._read[self.count % 2]
        here.copy_(self.result, non_blocking=True)
        self.count += 1
        if self.device.type != "cuda":
            return float(here[0])
        event = torch.cuda.Event()
        event.record()
        self._events.append(event)
        if len(self._events) < 2:
            return float("nan")
        self._events.pop(0).synchronize()
        return float(self._read[self.count % 2][0])

    def _captured(self) -> torch.cuda.CUDAGraph:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self._step()
        torch.cuda.current_stream().wait_stream(stream)
        self.optimizer.zero_grad()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step()
        return graph
