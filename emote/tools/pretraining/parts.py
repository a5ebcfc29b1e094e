"""The parts of the miniature as float16 files that any version of transformers reads back, and their bundle.

Each stage's part is written as soon as it is trained, so that whatever fails later loses nothing.
"""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from emote.util.files import write_bytes, write_with

ARCHIVES = {
    "rest.tar": ("vae.safetensors", "text.safetensors", "vision.safetensors", "tokenizer"),
    "judge.tar": ("judge_text.safetensors", "judge_vision.safetensors"),
}
LOOSE = ("unet.safetensors",)
EARLY = "unet_early.safetensors"  # of the lowest held-out loss on the way, where that is not the end's
_PREFIXES = ("text_model.", "vision_model.")


def round_to_half(model: nn.Module) -> None:
    """Give float32 weights the values that their float16 file will have: what is measured is what is published."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())


def save_part(path: Path, state: dict[str, torch.Tensor]) -> None:
    """Write floating-point weights as float16, under names without the prefix that versions differ in."""
    halves = {
        bare_name(key): value.detach().half().cpu().contiguous()
        for key, value in state.items()
        if value.is_floating_point()
    }
    write_with(path, lambda temporary: save_file(halves, temporary, {"format": "pt"}))


def load_part(model: nn.Module, path: Path, besides: Sequence[str] = ()) -> dict[str, torch.Tensor]:
    """Load what `save_part` wrote, and return the values named `besides`, which are no weights of `model`.

    Raises RuntimeError for any other name that is missing or unknown.
    """
    names = {bare_name(key): key for key, value in model.state_dict().items() if value.is_floating_point()}
    stored = load_file(path)
    different = sorted(stored.keys() ^ {*names, *besides})
    if different:
        raise RuntimeError(f"{path} does not fit: {len(different)} names differ, such as {different[0]}")
    model.load_state_dict({key: stored[name].float() for name, key in names.items()}, strict=False)
    return {name: stored[name].float() for name in besides}


def mix_parts(path: Path, other: Path, share: float) -> None:
    """Replace the weights at `path` by (1 - share) of them and `share` of those at `other`.

    Two points of one training are often joined by a line of low loss; between them a model can be at once less
    overfitted than the later one and better than the earlier one (arXiv 2109.01903).
    """
    later, earlier = load_file(path), load_file(other)
    save_part(path, {key: torch.lerp(value.float(), earlier[key].float(), share) for key, value in later.items()})


def bare_name(key: str) -> str:
    for prefix in _PREFIXES:
        key = key.removeprefix(prefix)
    return key


def write_bundle(parts: Path, folder: Path) -> None:
    """Copy what there is into at most four files: `unet.safetensors`, an earlier one, `rest.tar`, `judge.tar`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*LOOSE, EARLY):
        if (parts / name).exists():
            write_bytes(folder / name, (parts / name).read_bytes())
    for name, members in ARCHIVES.items():
        present = [member for member in members if (parts / member).exists()]
        if present:
            write_with(folder / name, partial(_pack, parts=parts, members=present))


def read_bundle(folder: Path, parts: Path) -> None:
    """Unpack a bundle into `parts`. Raises FileNotFoundError that names what is missing."""
    missing = [name for name in (*LOOSE, *ARCHIVES) if not (folder / name).exists()]
    if missing:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}; pass the folder that the training wrote")
    parts.mkdir(parents=True, exist_ok=True)
    for name in LOOSE:
        (parts / name).write_bytes((folder / name).read_bytes())
    for name in ARCHIVES:
        with tarfile.open(folder / name) as archive:
            archive.extractall(parts, filter="data")


def _pack(path: Path, parts: Path, members: list[str]) -> None:
    with tarfile.open(path, "w") as archive:
        for member in members:
            archive.add(parts / member, arcname=member)
