"""Count what a computation costs without doing it: on meta tensors, which have shapes and no numbers."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

FORWARD, BACKWARD = "attention", "attention backward"  # in the place of an operation's function
VIEWS = {"_unsafe_view", "detach", "alias", "lift_fresh"}  # compute nothing, beside what torch calls a view


class Spec(NamedTuple):
    """A tensor's outside."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


class Operation(NamedTuple):
    """One call that was counted: enough to make it again with other numbers. flops and bytes: of one call."""

    function: Any
    arguments: tuple[Any, ...]
    keywords: tuple[tuple[str, Any], ...]
    flops: int
    bytes: int


class Ledger(TorchDispatchMode):
    """Within it: FLOPs, operations, and the largest sum of tensors that were alive at once, activations included.

    known: what exists before and is not counted, such as the weights.
    Attention is counted as a fused kernel does it: no matrix of all pairs is kept, and going back computes it again.
    """

    def __init__(self, known: Iterable[torch.Tensor] = ()) -> None:
        super().__init__()
        self.flops = 0
        self.live_bytes = 0
        self.peak_bytes = 0
        self.operations: Counter[Operation] = Counter()
        # meta storages have no address; the object of one that is alive is always the same
        self._seen: dict[int, Any] = {}
        for tensor in known:
            storage = tensor.untyped_storage()
            self._seen[id(storage)] = storage

    def __enter__(self) -> Ledger:
        self._attention = F.scaled_dot_product_attention
        F.scaled_dot_product_attention = self._fused_attention
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        F.scaled_dot_product_attention = self._attention

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        keywords = kwargs or {}
        out = function(*args, **keywords)
        packet = function._overloadpacket
        if function.is_view or packet.__name__ in VIEWS:
            return out
        flops = flop_registry[packet](*args, **keywords, out_val=out) if packet in flop_registry else 0
        size = sum(self._note(tensor) for tensor in (out if isinstance(out, (tuple, list)) else (out,)))
        self.flops += flops
        specs = tuple(_specified(a) for a in args), tuple((n, _specified(v)) for n, v in keywords.items())
        self.operations[Operation(function, *specs, flops, size)] += 1
        return out

    def _note(self, value: Any) -> int:
        """Bytes of a new tensor; 0 for what is none, or is another view of one."""
        if not isinstance(value, torch.Tensor):
            return 0
        storage = value.untyped_storage()
        name, size = id(storage), storage.nbytes()
        if name in self._seen:
            return 0
        self._seen[name] = weakref.ref(storage, partial(self._forget, name, size))
        self.live_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)
        return size

    def _forget(self, name: int, size: int, _: Any) -> None:
        self.live_bytes -= size
        del self._seen[name]

    def _fused_attention(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any, **__: Any) -> Any:
        return _FusedAttention.apply(query, key, value, self)

    def attend(self, query: torch.Tensor, key: torch.Tensor, passes: str, products: int) -> None:
        flops = products * 2 * query.numel() * key.shape[-2]
        self.flops += flops
        size = query.numel() * query.element_size()
        self.operations[Operation(passes, (_specified(query), _specified(key)), (), flops, size)] += 1


class _FusedAttention(torch.autograd.Function):
    """What a fused kernel keeps (Dao et al., arXiv 2205.14135): inputs, output, one number for each query."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, ledger: Ledger) -> torch.Tensor:
        out = torch.empty_like(query)
        spread = torch.empty(query.shape[:-1], device=query.device, dtype=torch.float32)
        ctx.save_for_backward(query, key, value, out, spread)
        ctx.ledger = ledger
        ledger.attend(query, key, FORWARD, products=2)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        query, key, value, _, _ = ctx.saved_tensors
        ctx.ledger.attend(query, key, BACKWARD, products=5)
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value), None


def _specified(value: Any) -> Any:
    """A hashable description, tensors by their outside."""
    if isinstance(value, torch.Tensor):
        return Spec(tuple(value.shape), value.stride(), value.dtype)
    return tuple(_specified(entry) for entry in value) if isinstance(value, (list, tuple)) else value
