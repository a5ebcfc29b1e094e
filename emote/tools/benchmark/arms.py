"""What is compared: ways to make one and the same training step, from the usual one to the fastest that is known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from emote.config import Precision


class Rung(Enum):
    """A saving. Each row of the ladder has one more than the row above it."""

    cached = "latents and embeddings from the cache: no autoencoder and no text encoder in the loop"
    half = "frozen weights in half precision, without autocast; the adapter in float32 as peft computes it"
    unsynced = "nothing waits for the device: noise copied ahead, loss scale on the device, loss read one step late"
    adapter_half = "the adapter multiplies in the frozen weights' type: its weights are converted, not its inputs"
    fused = "one product for the projections that read the same input"
    text_once = "keys and values of the frozen text computed once; no adapter on them"
    channels_last = "convolutions in the layout that tensor cores read"
    tuned = "cuDNN tries its algorithms and keeps the fastest"
    compiled = "torch.compile of the transformer blocks"
    graph = "the whole step is one CUDA graph"


LADDER = tuple(rung for rung in Rung if rung is not Rung.text_once)
EAGER = LADDER[:-2]


@dataclass(frozen=True)
class Arm:
    """One way to make a step. micro_batch: pictures in one pass.  float32: frozen weights under autocast."""

    name: str
    precision: Precision
    batch: int
    micro_batch: int
    rungs: frozenset[Rung] = frozenset()
    example_half: bool = False
    no_text_adapter: bool = False

    def __contains__(self, rung: Rung) -> bool:
        return rung in self.rungs

    @property
    def is_ours(self) -> bool:
        return Rung.half in self.rungs


EXAMPLE = {
    "example": "as the diffusers example: encoders in the loop, autocast over float32 weights",
    "example_half": "the same over weights in half precision, as the example does with --mixed_precision",
}


def arm(name: str, precision: Precision, batch: int, micro_batch: int | None = None) -> Arm:
    """An arm by its name: `example`, `example_half`, or the highest rung of the ladder that it has.

    Also `text_apart` and `text_once`, which compare keys and values of the text computed at each step and once, both
    without an adapter on them, and two names joined by a plus, such as `fused+graph`, for the second rung upon the
    first. Raises KeyError for other names.
    """
    size = Arm(name, precision, batch, micro_batch or batch)
    if name in EXAMPLE:
        return replace(size, example_half=name == "example_half")
    without, _, last = name.partition("+")
    if last:  # such as fused+graph: up to the first, and the second beside it
        below = arm(without, precision, batch, micro_batch)
        return replace(below, name=name, rungs=below.rungs | {Rung[last]})
    if name in ("text_apart", Rung.text_once.name):
        rungs = set(EAGER) - {Rung.tuned} | ({Rung.text_once} if name == Rung.text_once.name else set())
        return replace(size, rungs=frozenset(rungs), no_text_adapter=True)
    rungs = set(LADDER[: LADDER.index(Rung[name]) + 1])
    if name == Rung.graph.name:
        rungs -= {Rung.compiled}  # compiling takes minutes, and a graph without it seconds
    return replace(size, rungs=frozenset(rungs))


def names() -> list[str]:
    """Of all arms that have a plain name."""
    return [*EXAMPLE, *(rung.name for rung in LADDER), "text_apart", Rung.text_once.name]
