"""Damaged adapter files through everything that reads adapters.

`python -m emote.tools.fuzz_files.adapters count=300 seed=0`: no traceback, only a ConfigError of clean text or an
adapter; what is read is what the file's own matrices say, layer by layer; what must be refused is.
"""

from __future__ import annotations

import functools
import io
import json
import logging
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from peft.tuners.lora import LoraLayer
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

from emote.config import AdapterDtype, Init, LoraConfig, key
from emote.inference.export import Export, Target, export
from emote.lora.adapter import attach
from emote.lora.adapter_file import find_adapter_file, open_adapter, read_adapter
from emote.lora.fuse import Recipe, fuse_to_directory
from emote.lora.loading import load_for_sampling, remove_layers
from emote.lora.warm_start import adapt_text, warm_start, warm_start_key
from emote.models.components import load_text_encoder, load_unet
from emote.tools.fuzzing import try_seeds
from emote.util.errors import ConfigError

RANK, ALPHA = 2, 3.0
EXACT, HALF = 1e-5, 2e-2  # relative, of float32's rounding and of half precision's
TOOLS = ("diffusers", "old diffusers", "kohya", "LyCORIS", "peft", "OneTrainer")
TEXT = "text_model.encoder.layers.0"


@dataclass
class FuzzOptions:
    count: int = key("files", at_least=1, default=300)
    seed: int = key("of the first file", at_least=0, default=0)


@dataclass
class Case:
    """A file in the making. truth: what each layer's weight is to change by, up to `tolerance`.

    refuse: whether nothing but a refusal is right. unknown: whether the matrices themselves may have been damaged.
    """

    tool: str
    tensors: dict[str, torch.Tensor]
    metadata: dict[str, Any]
    truth: dict[str, torch.Tensor]
    settings: dict[str, Any] | None = None
    tolerance: float = EXACT
    refuse: bool = False
    unknown: bool = False
    told: str = ""
    after: list[Callable[[Path, random.Random], None]] = field(default_factory=list)


def main(arguments: list[str]) -> int:
    """Try `count` files; print what failed with its seed, and what the others came to. Returns 1 where any failed."""
    options = FuzzOptions(**{name: int(value) for name, _, value in (word.partition("=") for word in arguments)})
    with tempfile.TemporaryDirectory() as directory:
        base = build_base(Path(directory) / "base")
        return try_seeds(
            options.seed, options.count, "files", lambda seed: try_file(Path(directory) / str(seed), base, seed)
        )


def build_base(directory: Path) -> Path:
    """Write the smallest UNet and text encoder that adapters can be tried on, in diffusers' layout."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=4, block_out_channels=(8, 8), layers_per_block=1, cross_attention_dim=8, attention_head_dim=4,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), norm_num_groups=4,
            up_block_types=("UpBlock2D", "UpBlock2D"),
        )  # fmt: skip
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=16,
                bos_token_id=0,
                eos_token_id=1,
                hidden_size=8,
                intermediate_size=12,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=8,
            )
        )
    unet.save_pretrained(directory / "unet")
    text.save_pretrained(directory / "text_encoder")
    (directory / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    return directory


@functools.cache
def _loaded(base: Path) -> tuple[Any, Any]:
    return load_unet(base), load_text_encoder(base)


@contextmanager
def _fresh(base: Path) -> Iterator[tuple[Any, Any]]:
    """The UNet and the text encoder, without what was put on them afterwards."""
    try:
        yield _loaded(base)
    finally:
        for part in _loaded(base):
            remove_layers(part)


def try_file(folder: Path, base: Path, seed: int) -> str:
    """Write one file, damaged or not, and use it everywhere; returns what came of it.

    Raises AssertionError for what is read otherwise than it is written, and whatever else is raised but ConfigError.
    """
    chosen = random.Random(seed)
    case = make_case(chosen, base)
    for damage in chosen.sample(DAMAGES, chosen.choice((0, 1, 1, 1, 2))):
        damage(case, chosen)
    folder.mkdir(parents=True)
    path = _write(case, folder)
    for harm in case.after:
        harm(path, chosen)
    outcomes = {name: _attempt(partial) for name, partial in _uses(case, path, base, folder).items()}
    accepted = {name for name, outcome in outcomes.items() if outcome is None}
    unfit = {name for name, said in outcomes.items() if said and "another base model" in said}
    assert not (case.refuse and accepted), f"must be refused, and {sorted(accepted)} took it: {case.told}"
    read = {"read", "convert", "check"}
    assert accepted >= read or not accepted, f"one part refuses what another takes ({case.told}): {outcomes}"
    if accepted:
        others = {name for name in outcomes if name not in accepted | unfit}
        assert others <= {"init_from"}, f"one part refuses what another takes ({case.told}): {outcomes}"
        return "used" if "generate" in accepted else "of another base model"
    return "refused"


def make_case(chosen: random.Random, base: Path) -> Case:
    """Return a whole adapter of the base's attention, and often of its text encoder, in some tool's names."""
    tool = chosen.choice(TOOLS)
    shapes = {
        f"unet.{name}": module.weight.shape
        for name, module in _loaded(base)[0].named_modules()
        if name.endswith((".to_q", ".to_k", ".to_v", ".to_out.0"))
    }
    if chosen.random() < 0.5 and tool != "peft":
        shapes |= {f"text_encoder.{TEXT}.self_attn.q_proj": (8, 8), f"text_encoder.{TEXT}.mlp.fc1": (12, 8)}
    generator = torch.Generator().manual_seed(chosen.randrange(2**30))
    case = Case(tool, {}, {"format": "pt"}, {})
    for name, (out, inside) in shapes.items():
        down, up = torch.randn(RANK, inside, generator=generator), torch.randn(out, RANK, generator=generator)
        keys = _keys(tool, name)
        case.tensors |= {keys[0]: down, keys[1]: up}
        if tool in ("kohya", "LyCORIS", "OneTrainer"):
            case.tensors[keys[2]] = torch.tensor(ALPHA)
        alpha = RANK if tool == "old diffusers" else ALPHA  # it stores none
        case.truth[name] = alpha / RANK * (up.double() @ down.double())
    told = {"r": RANK, "lora_alpha": ALPHA, "target_modules": [name.split(".", 1)[1] for name in shapes]}
    if tool == "diffusers":
        parts = {name.split(".")[0] for name in shapes}
        case.settings = {f"{part}.{setting}": value for part in parts for setting, value in told.items()}
        for part in parts:
            own = [name.split(".", 1)[1] for name in shapes if name.startswith(f"{part}.")]
            case.settings[f"{part}.target_modules"] = own
    elif tool == "peft":
        case.settings = told | {"peft_type": "LORA", "bias": "none"}
    return case


def _keys(tool: str, name: str) -> tuple[str, str, str]:
    """The names of a layer's down and up matrix and of its alpha."""
    part, module = name.split(".", 1)
    if tool in ("kohya", "LyCORIS"):
        prefix = "lycoris_" if tool == "LyCORIS" else {"unet": "lora_unet_", "text_encoder": "lora_te_"}[part]
        flat = prefix + module.replace(".", "_")
        return f"{flat}.lora_down.weight", f"{flat}.lora_up.weight", f"{flat}.alpha"
    if tool == "OneTrainer":
        return f"{name}.lora_down.weight", f"{name}.lora_up.weight", f"{name}.alpha"
    if tool == "old diffusers":
        return f"{name}.lora.down.weight", f"{name}.lora.up.weight", f"{name}.alpha"
    start = f"base_model.model.{module}" if tool == "peft" else name
    return f"{start}.lora_A.weight", f"{start}.lora_B.weight", f"{start}.alpha"


def _write(case: Case, folder: Path) -> Path:
    metadata = dict(case.metadata)
    if case.settings is not None and case.tool == "peft":
        (folder / "adapter_config.json").write_text(json.dumps(case.settings))
    elif case.settings is not None:
        metadata.setdefault("lora_adapter_metadata", json.dumps(case.settings))
    path = folder / ("adapter_model.safetensors" if case.tool == "peft" else "style.safetensors")
    save_file({name: tensor.contiguous() for name, tensor in case.tensors.items()}, path, metadata)
    return path


def _uses(case: Case, path: Path, base: Path, folder: Path) -> dict[str, Callable[[], None]]:
    """Everything that reads an adapter, each comparing what it made of the file with the truth."""

    def read() -> None:
        with _warnings() as said:
            layers = read_adapter(find_adapter_file(path) or path).layers
        found = {name: layer.scale * (layer.up.double() @ layer.down.double()) for name, layer in layers.items()}
        _compare(case, found)
        opened = open_adapter(path)
        used = {tensor for roles in opened.keys.values() for tensor in roles.values()}
        with safe_open(str(path), framework="pt") as file:
            left = set(file.keys()) - used
        assert not left or all(name.startswith("bundle_emb.") for name in left), f"dropped: {left}"
        assert not left or "are not used" in said.getvalue()

    def generate() -> None:
        with _fresh(base) as (unet, text):
            load_for_sampling(unet, path, {"text_encoder": text})
            _compare(case, _changes("unet", unet) | _changes("text_encoder", text))

    def init_from() -> None:
        lora = LoraConfig(rank=RANK, alpha=RANK if case.tool == "old diffusers" else ALPHA, dropout=0.0,
                          targets="attention", init=Init.gaussian, dtype=AdapterDtype.float32, seed=0,
                          init_from=str(path), variant="lora", nested=[])  # fmt: skip
        assert warm_start_key(lora)
        with _fresh(base) as (unet, text):
            attach(unet, lora)
            warm_start(unet, lora)
            adapt_text({"text_encoder": text}, lora)
            _compare(case, _changes("unet", unet) | _changes("text_encoder", text))

    def convert() -> None:
        for target in (Target.kohya, Target.diffusers):
            output = folder / f"{target.name}.safetensors"
            _export(run=str(path), to=target, output=str(output))
            layers = read_adapter(output).layers
            _compare(case, {name: x.scale * (x.up.double() @ x.down.double()) for name, x in layers.items()})

    def check() -> None:
        _export(run=str(path))

    return {"read": read, "generate": generate, "init_from": init_from, "convert": convert, "check": check,
            "fuse": lambda: _fuse(case, path, base, folder)}  # fmt: skip


def _fuse(case: Case, path: Path, base: Path, folder: Path) -> None:
    fused = fuse_to_directory(Recipe(read_adapter(path)), base, None, folder / "fused")
    found = {}
    for part, stem in (("unet", "diffusion_pytorch_model"), ("text_encoder", "model")):
        before, after = (load_file(root / part / f"{stem}.safetensors") for root in (base, fused))
        assert before.keys() == after.keys()
        for name in before:
            if not torch.equal(before[name], after[name]):
                module = name.removesuffix(".weight")
                inner = f"text_model.{module}" if module.startswith("encoder.") else module
                found[f"{part}.{inner}"] = after[name].double() - before[name].double()
    _compare(case, found, EXACT * 10)


def _export(**words: Any) -> None:
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        export(Export(**words))


def _changes(part: str, model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What peft itself says that each of its layers changes."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            inner = f"text_model.{name}" if part != "unet" and name.startswith("encoder.") else name
            found[f"{part}.{inner}"] = module.get_delta_weight("default").detach().double()
    return found


def _compare(case: Case, found: dict[str, torch.Tensor], least: float = 0.0) -> None:
    if case.unknown:
        return
    assert found.keys() == case.truth.keys(), f"other layers ({case.told}): {sorted(found.keys() ^ case.truth.keys())}"
    for name, wanted in case.truth.items():
        error = float((found[name] - wanted).norm() / wanted.norm())
        assert error <= max(case.tolerance, least), f"{name} is off by {error} ({case.told})"


def _attempt(use: Callable[[], None]) -> str | None:
    """None where it went well, else what was said."""
    try:
        with _warnings():
            use()
    except ConfigError as error:
        said = str(error)
        assert 0 < len(said) < 2000 and "Traceback" not in said
        assert all(letter.isprintable() or letter == "\n" for letter in said), repr(said)
        return said
    return None


@contextmanager
def _warnings() -> Iterator[io.StringIO]:
    """What is said of a file that is read, here and not in the terminal."""
    handler = logging.StreamHandler(io.StringIO())
    logger = logging.getLogger("emote.lora.adapter_file")
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield handler.stream
    finally:
        logger.removeHandler(handler)
        logger.propagate = True


# --- damages: each changes the case, and says in it what is right from then on ---


def _named(case: Case, chosen: random.Random, *ends: str) -> str:
    return chosen.choice(sorted(name for name in case.tensors if name.endswith(ends or ("",))))


def _say(case: Case, words: str, *, refuse: bool = True) -> None:
    case.told, case.refuse = f"{case.told} {words};", case.refuse or refuse


def rename(case: Case, chosen: random.Random) -> None:
    name = _named(case, chosen)
    new = chosen.choice((name.replace("0", "7", 1), name + ".x", name[1:], name.upper(), f"x.{name}", "\x1b[2J" + name,
                         name.replace("attn1", "attn9"), name.replace("lora", "lorra")))  # fmt: skip
    if new not in case.tensors and new != name:
        case.tensors[new] = case.tensors.pop(name)
        _say(case, f"renamed {name} to {new!r}")


def drop(case: Case, chosen: random.Random) -> None:
    name = _named(case, chosen)
    del case.tensors[name]
    _say(case, f"dropped {name}")


def drop_layer(case: Case, chosen: random.Random) -> None:
    if not case.truth.keys() or len(case.truth) < 3:
        return
    layer = chosen.choice(sorted(case.truth))
    for name in _keys(case.tool, layer):
        case.tensors.pop(name, None)
    del case.truth[layer]
    _say(case, f"dropped {layer}", refuse=case.settings is not None)


def twice(case: Case, chosen: random.Random) -> None:
    layer = chosen.choice(sorted(case.truth))
    other = chosen.choice([tool for tool in TOOLS if _keys(tool, layer)[0] != _keys(case.tool, layer)[0]])
    keys = _keys(other, layer)
    if set(keys) & case.tensors.keys() or (other == "LyCORIS" and case.tool == "kohya" and chosen.random() < 0.5):
        return
    case.tensors |= {keys[0]: torch.randn(RANK, 8), keys[1]: torch.randn(8, RANK)}
    _say(case, f"{layer} also as {other} names it")


def swap(case: Case, chosen: random.Random) -> None:
    name = _named(case, chosen, ".weight")
    tensor = case.tensors[name]
    case.tensors[name] = chosen.choice((tensor.T, tensor[None], tensor.flatten(), tensor[..., None, None]))
    _say(case, f"another shape of {name}")


def to_dtype(case: Case, chosen: random.Random) -> None:
    dtype = chosen.choice((torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.bool, torch.int64))
    for name in case.tensors if chosen.random() < 0.5 else [_named(case, chosen, ".weight")]:
        if name.endswith(".weight"):
            case.tensors[name] = case.tensors[name].to(dtype)
    case.tolerance = max(case.tolerance, HALF if dtype.is_floating_point else 0)
    _say(case, str(dtype), refuse=not dtype.is_floating_point)


def not_finite(case: Case, chosen: random.Random) -> None:
    name = _named(case, chosen)
    case.tensors[name] = torch.full_like(case.tensors[name].float(), chosen.choice((torch.nan, torch.inf, -torch.inf)))
    _say(case, f"{name} is not finite")


def add(case: Case, chosen: random.Random) -> None:
    layer = _keys(case.tool, chosen.choice(sorted(case.truth)))[0].rsplit(".lora", 1)[0]
    end = chosen.choice(("dora_scale", "magnitude", "lora_B.bias", "lora_up.bias", "diff_b", "w_norm", "hada_w1_a",
                         "lokr_w1", "lora_mid.weight", "oft_blocks", "on_input", "scalar", "lora_embedding_A", "bias",
                         "new", "a1.weight", "modules_to_save.weight", "lora_magnitude_vector"))  # fmt: skip
    case.tensors[f"{layer}.{end}"] = torch.ones(8)
    _say(case, f"added {end}")


def add_foreign(case: Case, chosen: random.Random) -> None:
    name = chosen.choice(("lora_te3_block_0.lora_up.weight", "lora_unet_double_blocks_0_img.lora_down.weight",
                          "x.lora_A.weight", "model.diffusion_model.out.2.bias", "x", "a\nb\x07"))  # fmt: skip
    case.tensors[name] = torch.ones(2, 2)
    _say(case, f"added {name!r}")


def add_embedding(case: Case, chosen: random.Random) -> None:
    case.tensors["bundle_emb.cat.clip_l"] = torch.ones(2, 8)
    _say(case, "embedding", refuse=False)


def alpha(case: Case, chosen: random.Random) -> None:
    wrong: Any = chosen.choice(("x", None, float("nan"), float("inf"), [1], {}, True, 1e40))
    if case.settings is not None:
        name = chosen.choice(sorted(name for name in case.settings if name.endswith(("lora_alpha", "r"))))
        if wrong is None:
            return
        case.settings[name] = wrong
    elif case.tool == "old diffusers":
        return
    else:
        case.tensors[_named(case, chosen, ".alpha")] = chosen.choice(
            (torch.ones(2), torch.zeros(0), torch.tensor(torch.nan))
        )
    _say(case, "alpha that is none")


def rank(case: Case, chosen: random.Random) -> None:
    layer = chosen.choice(sorted(case.truth))
    down, up, _ = _keys(case.tool, layer)
    if down not in case.tensors or up not in case.tensors or case.tensors[down].ndim != 2 or case.tensors[up].ndim != 2:
        return
    case.tensors[down] = case.tensors[down][:1]
    if chosen.random() < 0.5:
        _say(case, f"one matrix of {layer} cut")
        return
    case.tensors[up] = case.tensors[up][:, :1]
    of = 1 if case.tool == "old diffusers" else ALPHA
    case.truth[layer] = of * (case.tensors[up].double() @ case.tensors[down].double())
    _say(case, f"{layer} has rank 1", refuse=case.settings is not None)


def settings(case: Case, chosen: random.Random) -> None:
    if case.settings is None:
        return
    prefix = "" if case.tool == "peft" else "unet."
    case.settings |= chosen.choice((
        {f"{prefix}bias": "all"}, {f"{prefix}lora_bias": True}, {f"{prefix}use_dora": True},
        {f"{prefix}peft_type": "LOHA"},
        {f"{prefix}alpha_pattern": {"(": 1}}, {f"{prefix}rank_pattern": [1]}, {f"{prefix}init_lora_weights": "olora"},
        {f"{prefix}rank_pattern": {"to_q": 9}}, {f"{prefix}modules_to_save": ["conv_in"]},
    ))  # fmt: skip
    _say(case, "other settings")


def metadata(case: Case, chosen: random.Random) -> None:
    case.metadata["lora_adapter_metadata"] = chosen.choice(("{", "[]", "[" * 100_000, "1", '"x"', "null", "nan"))
    if case.tool == "peft":
        case.metadata.clear()  # not where it looks
        return
    _say(case, "settings that cannot be read")


def cut(case: Case, chosen: random.Random) -> None:
    def harm(path: Path, chosen: random.Random) -> None:
        data = path.read_bytes()
        path.write_bytes(data[: chosen.randrange(len(data) or 1)])

    case.after.append(harm)
    _say(case, "cut off")


def header(case: Case, chosen: random.Random) -> None:
    def harm(path: Path, chosen: random.Random) -> None:
        data = bytearray(path.read_bytes()) or bytearray(9)
        length = int.from_bytes(data[:8], "little")
        for _ in range(chosen.choice((1, 3, 50))):
            data[chosen.randrange(8 + length) % len(data)] = chosen.randrange(256)
        path.write_bytes(data)

    case.after.append(harm)
    case.unknown = True
    _say(case, "damaged header", refuse=False)


def offsets(case: Case, chosen: random.Random) -> None:
    def harm(path: Path, chosen: random.Random) -> None:
        data = path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        try:
            entries = json.loads(data[8 : 8 + length])
        except ValueError:
            return  # another damage came first
        name = chosen.choice([name for name in entries if name != "__metadata__"])
        entries[name] = chosen.choice((
            {}, [], None, {"dtype": "F32", "shape": [2], "data_offsets": [0, "8"]}, {**entries[name], "dtype": "F99"},
            {**entries[name], "data_offsets": [0, 10**18]}, {**entries[name], "shape": [-1]},
            {**entries[name], "data_offsets": [None, None]}, {**entries[name], "shape": [10**12, 10**12]},
        ))  # fmt: skip
        text = json.dumps(entries).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])

    case.after.append(harm)
    _say(case, "offsets that are none")


def replace_file(case: Case, chosen: random.Random) -> None:
    def harm(path: Path, chosen: random.Random) -> None:
        path.write_bytes(chosen.choice((b"", b"\x80\x04junk", b"PK\x03\x04", b"<html>", b"\xff" * 64, b"{}", bytes(16),
                                        (10**15).to_bytes(8, "little") + b"{}")))  # fmt: skip

    case.after.append(harm)
    _say(case, "no safetensors")


DAMAGES = (
    rename, drop, drop_layer, twice, swap, to_dtype, not_finite, add, add_foreign, add_embedding, alpha, rank, settings,
    metadata, cut, header, offsets, replace_file,
)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
