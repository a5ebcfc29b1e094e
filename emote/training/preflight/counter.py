"""Count what a computation costs without doing it: on meta tensors, which have shapes and no numbers."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import AttnProcessor2_0
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

VIEWS = {"_unsafe_view", "detach", "alias", "lift_fresh"}  # compute nothing, beside what torch calls a view


class Counter(TorchDispatchMode):
    """Within it: FLOPs, calls of an operation, and the largest sum of bytes alive at once, activations included."""

    def __init__(self, known: Iterable[torch.Tensor] = ()) -> None:
        """known: tensors that exist before and are not counted, such as the weights."""
        super().__init__()
        self.flops = self.calls = self.live_bytes = self.peak_bytes = 0
        # meta storages have no address; the object of one that is alive is always the same
        self._seen: dict[int, Any] = {id(t.untyped_storage()): t.untyped_storage() for t in known}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        keywords = kwargs or {}
        out = function(*args, **keywords)
        packet = function._overloadpacket
        if not function.is_view and packet.__name__ not in VIEWS:
            self.calls += 1
            self.flops += flop_registry[packet](*args, **keywords, out_val=out) if packet in flop_registry else 0
            for tensor in out if isinstance(out, (tuple, list)) else (out,):
                self._note(tensor)
        return out

    def _note(self, value: Any) -> None:
        if not isinstance(value, torch.Tensor) or id(storage := value.untyped_storage()) in self._seen:
            return
        name, size = id(storage), storage.nbytes()
        self._seen[name] = weakref.ref(storage, partial(self._forget, name, size))
        self.live_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)

    def _forget(self, name: int, size: int, _: Any) -> None:
        self.live_bytes -= size
        del self._seen[name]


class FusedAttention(AttnProcessor2_0):
    """Attends as a fused kernel does, which PyTorch has none of for meta tensors: no matrix of all pairs is kept."""

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        with _FusedKernel():
            return super().__call__(*arguments, **keywords)


class _FusedKernel(TorchFunctionMode):
    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is not F.scaled_dot_product_attention:
            return function(*args, **(kwargs or {}))
        inputs = (*args, *(kwargs or {}).values())[:3]  # query, key, value; a mask costs next to nothing
        return torch.ops.aten._scaled_dot_product_efficient_attention(*inputs, None, True)[0]
