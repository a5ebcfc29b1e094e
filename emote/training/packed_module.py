"""The LightningModule of runs that train together: one pass, and what each run would do with its part of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel

from emote.model.adapter import adapter_state, load_adapter_state, trainable
from emote.training.module import Batch, LoraModule, learning_rate_factor
from emote.training.packed_unet import pack


class PackedModule(LoraModule):
    """Trains the adapters of several modules on the same batches, from the step that all of them stand at.

    One AdamW has a group for each: it works entry by entry, so this is as many optimizers. Gradients are clipped by
    module. In fp16 they share the gradient scaler, which may skip a step of all where separate runs would skip it in
    one.
    """

    def __init__(
        self,
        members: Sequence[LoraModule],
        frozen: UNet2DConditionModel,
        noise_scheduler: DDPMScheduler,
        start: int = 0,
        states: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """members: over the weights of `frozen`; they differ in rank, alpha, learning rate and seed of the adapter.

        states: of each member what `state_of` saved at `start`; none at step 0.
        """
        first = members[0]
        unet = pack([member.unet for member in members], frozen)
        super().__init__(unet, noise_scheduler, first.empty_TD, first.config, first.seed, first.pixels_a_latent)
        self.members = list(members)  # a list: their weights are those of `unet`
        self.start = start
        self._states = states
        for member, state in zip(members, states, strict=bool(states)):
            load_adapter_state(member.unet, state["state_dict"])
        self.to(first.device).train(first.training)

    def denoising_error(
        self,
        latents_BCHW: torch.Tensor,
        noise_BCHW: torch.Tensor,
        timesteps_B: torch.Tensor,
        embedding_BTD: torch.Tensor,
    ) -> torch.Tensor:
        """Of each member's prediction [N, B]."""
        inputs = (latents_BCHW, noise_BCHW, timesteps_B, embedding_BTD)
        count = len(self.members)
        error = super().denoising_error(*(each.repeat(count, *[1] * (each.dim() - 1)) for each in inputs))
        return error.view(count, -1)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        losses_N = self.weighted_error(batch).mean(dim=1)
        for member, loss in zip(self.members, losses_N, strict=True):
            member.note_loss(loss)
        return losses_N.sum()  # the gradient of each member is that of its own loss

    def forget_losses(self) -> None:
        for member in self.members:
            member.forget_losses()

    def on_fit_start(self) -> None:
        for member in self.members:
            member.trainer = self.trainer  # which counts the steps
        steps = self.trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total
        steps.ready = steps.completed = self.start
        for state in self._states[:1]:  # the gradient scaler's is of all
            self.trainer.precision_plugin.load_state_dict(state["precision"])
        self._states = ()

    def on_after_backward(self) -> None:
        for member in self.members:
            if not member.is_finite():  # it stands still: a gradient scaler would make all others wait for it
                for parameter in trainable(member.unet).values():
                    parameter.grad = None

    def configure_optimizers(self) -> Any:
        config = self.config
        groups = [
            {"params": list(trainable(member.unet).values()), "lr": member.config.learning_rate}
            for member in self.members
        ]
        optimizer = torch.optim.AdamW(
            groups, betas=(config.betas[0], config.betas[1]), eps=config.epsilon, weight_decay=config.weight_decay
        )
        if self._states:
            optimizer.load_state_dict({"state": self._joined_states(), **_groups_of(optimizer)})

        def factor(step: int) -> float:
            return learning_rate_factor(config, self.start + step)

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *_: Any, **__: Any) -> None:
        for member in self.members:
            member.configure_gradient_clipping(optimizer)

    def state_of(self, number: int) -> dict[str, Any]:
        """What a member goes on from: the step, its adapter, its part of the optimizer, and the gradient scaler."""
        optimizer = self.trainer.optimizers[0]
        group = optimizer.param_groups[number]
        parameters = group["params"]
        return {
            "global_step": self.trainer.global_step,
            "precision": self.trainer.precision_plugin.state_dict(),
            "state_dict": adapter_state(self.members[number].unet),
            "optimizer_states": [
                {
                    "state": {i: optimizer.state[p] for i, p in enumerate(parameters) if p in optimizer.state},
                    "param_groups": [{**group, "params": list(range(len(parameters)))}],
                }
            ],
        }

    def _joined_states(self) -> dict[int, Any]:
        joined: list[Any] = []
        for member, saved in zip(self.members, self._states, strict=True):
            state = saved["optimizer_states"][0]["state"]
            joined += [state.get(number) for number in range(len(trainable(member.unet)))]
        return {number: state for number, state in enumerate(joined) if state is not None}


def _groups_of(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    return {"param_groups": optimizer.state_dict()["param_groups"]}
