"""Which weight files a part of a base model consists of, and what identifies their content."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from emote.models.single_file import OneFile, hash_part
from emote.util.errors import ConfigError
from emote.util.files import hash_rest, write_bytes

# part of the model → how its weight files are called; a scheduler has none
STEMS = {
    "unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model",
    "text_encoder_2": "model",
}  # fmt: skip
VARIANTS = ("fp16", "bf16")  # that are used without being asked for, where there is nothing else
CONFIGS = {"scheduler": "scheduler_config.json"}
TOKENIZERS = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}
TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer.json", "special_tokens_map.json", "added_tokens.json")
REMEMBERED_FROM_BYTES = 64 * 2**20  # below, hashing takes less time than it saves
NOT_CONTENT = {"transformers_version", "name_or_path", "dtype", "torch_dtype"}  # who saved it, where and how


def weighted_parts(path: Path) -> list[str]:
    """The parts of this base model that have weights: XL has a second text encoder."""
    return [part for part in STEMS if part != "text_encoder_2" or (Path(path) / part).is_dir()]


def weight_files(path: Path, part: str, variant: str | None = None) -> list[Path]:
    """Return the safetensors files of a part, sorted: of the variant where there are any, else the plain ones.

    Where there are none of these either, those in half precision, as which some models come alone.
    """
    if isinstance(path, OneFile):
        return [path.file]
    folder = Path(path) / part
    for wanted in dict.fromkeys((variant, None, *VARIANTS)):
        shard, suffix = r"(-\d+-of-\d+)?", rf"\.{re.escape(wanted)}" if wanted else ""
        pattern = re.compile(rf"{re.escape(STEMS[part])}{shard}{suffix}{shard}\.safetensors")
        found = sorted(file for file in folder.glob("*.safetensors") if pattern.fullmatch(file.name))
        if found:
            return found
    return []


def fingerprint(path: Path, part: str, *, variant: str | None = None, cache_dir: Path | None = None) -> str:
    """SHA-256 (hex) of what a part is: weight bytes and configuration, wherever it lies and whoever saved it.

    part: unet, vae, text_encoder (all that turns captions into embeddings) or scheduler. With `cache_dir` the hashes of
    large files are remembered there by path, size and time of change. Raises ConfigError for a part that is not there.
    """
    folder = Path(path) / part
    config = folder / CONFIGS.get(part, "config.json")
    files = weight_files(path, part, variant) if part in STEMS else []
    if not config.is_file() or (part in STEMS and not files):
        raise ConfigError(f"{folder} has no {config.name} with weights as safetensors")
    digest = hashlib.sha256(_canonical(config))
    for file in files:
        if isinstance(path, OneFile):
            found = _remembered(file, f"#{part}", cache_dir, lambda file: hash_part(file, part))
        else:
            found = _remembered(file, "", cache_dir, _hash)
        digest.update(bytes.fromhex(found))
    if part == "unet" and isinstance(path, OneFile) and path.schedule:
        digest.update(json.dumps(path.schedule, sort_keys=True).encode())
    if part in TOKENIZERS:
        tokenizer = Path(path) / TOKENIZERS[part]
        digest.update(_canonical(tokenizer / "tokenizer_config.json"))
        texts = {n: (tokenizer / n).read_bytes() for n in TOKENIZER_FILES if (tokenizer / n).is_file()}
        repeated = tokenizer_parts(tokenizer / "tokenizer.json")
        if repeated.items() <= texts.items():  # added for transformers 4, and no other model for it
            texts = {name: content for name, content in texts.items() if name not in repeated}
        for name, content in texts.items():
            digest.update(name.encode() + hashlib.sha256(content).digest())
    if part == "text_encoder" and (Path(path) / "text_encoder_2").is_dir():
        digest.update(fingerprint(path, "text_encoder_2", variant=variant, cache_dir=cache_dir).encode())
        digest.update(str(_values(Path(path) / "model_index.json").get("force_zeros_for_empty_prompt")).encode())
    return digest.hexdigest()


def tokenizer_parts(whole: Path) -> dict[str, bytes]:
    """vocab.json and merges.txt as the library tokenizers writes them for this tokenizer.json; {} where it has none.

    Transformers 4 reads CLIP's tokenizer from these two together.
    """
    try:
        model = _values(whole)["model"]
        vocabulary = dict(sorted(model["vocab"].items(), key=lambda entry: entry[1]))
        merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {
        "vocab.json": json.dumps(vocabulary, ensure_ascii=False, separators=(",", ":")).encode(),
        "merges.txt": "\n".join(["#version: 0.2", *merges, ""]).encode(),
    }


def _values(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _canonical(config: Path) -> bytes:
    kept = {key: value for key, value in _values(config).items() if not key.startswith("_") and key not in NOT_CONTENT}
    return json.dumps(kept, sort_keys=True).encode()


def _remembered(file: Path, of: str, cache_dir: Path | None, compute: Callable[[Path], str]) -> str:
    """The hash that `compute` gives of a file; `of` tells several of one file apart."""
    state = file.stat()
    if cache_dir is None or state.st_size < REMEMBERED_FROM_BYTES:
        return compute(file)
    memory = Path(cache_dir) / "weight_hashes.json"
    try:
        known: dict[str, Any] = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}  # a memory that cannot be read is only slow
    key, stamp = f"{file.resolve()}{of}", [state.st_size, state.st_mtime_ns]
    entry = known.get(key)
    if isinstance(entry, dict) and entry.get("stamp") == stamp:
        return str(entry["sha256"])
    known[key] = {"stamp": stamp, "sha256": compute(file)}
    write_bytes(memory, json.dumps(known, indent=1, sort_keys=True).encode())
    return str(known[key]["sha256"])


def _hash(file: Path) -> str:
    with file.open("rb") as stream:
        return hash_rest(stream, hashlib.sha256())
