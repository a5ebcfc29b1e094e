"""Lightning plug-ins: loss scaling without autocast, and checkpoints that are written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.plugins.precision import MixedPrecision, Precision

from emote.util.files import patiently, write_with

RUN = "emote_run"  # in a checkpoint: the identity of its run


class ScaledFloat32Adapter(MixedPrecision):
    """fp16 arithmetic for weights that are fp16, float32 for the adapter, its gradients scaled against underflow.

    Lightning's own `16-mixed` also autocasts, which would convert nothing here but costs a look at every
    operation; the frozen weights are in half precision already.
    """

    def __init__(self, device: str) -> None:
        super().__init__("16-mixed", device, torch.amp.GradScaler(device=device))

    @contextmanager
    def forward_context(self) -> Iterator[None]:
        yield

    @contextmanager
    def autocast_context_manager(self) -> Iterator[None]:  # type: ignore[override]
        yield


def precision_plugin(frozen: torch.dtype, device: torch.device) -> Precision:
    return ScaledFloat32Adapter(device.type) if frozen is torch.float16 else Precision()


class AtomicCheckpointIO(TorchCheckpointIO):
    """Written beside and renamed, with the run that it is of; loaded without unpickling code."""

    def __init__(self, identity: str) -> None:
        super().__init__()
        self.identity = identity

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        checkpoint[RUN] = self.identity
        patiently(lambda: write_with(Path(path), lambda temporary: torch.save(checkpoint, temporary)))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return torch.load(path, map_location=map_location, weights_only=True)
