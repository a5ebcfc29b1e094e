"""What an image was drawn from, as text in the PNG: the form that AUTOMATIC1111's web UI writes and reads.

The form is that of `create_infotext` in its modules/processing.py and `parse_generation_parameters` in
modules/infotext_utils.py: the prompt, a line with the negative prompt, and a line of `Key: value` pairs in which a
value with a comma or colon is a JSON string. Adapters are named in the prompt (`<lora:name:scale>`).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

import emote
from emote.config import Precision
from emote.diffusion.samplers import SAMPLERS, from_a1111
from emote.inference.request import LORA_TAG, NEGATIVE, Request
from emote.runs.mix_names import parse_mix
from emote.util.errors import ConfigError
from emote.util.files import write_with

CHUNK = "parameters"
PAIR = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
LORA = re.compile(r"\s*<lora:([^:>]+):([^:>]+)>")
FEWEST_PAIRS = 3  # in the last line, or it belongs to the prompt


@dataclass(frozen=True)
class Parameters:
    """request: its lora_scale is 0 where no adapter was in use. model, model_hash: of the base.

    lora, lora_hash: the adapter as A1111 knows it; run: what `run=` finds it by.
    batch_size, batch_position: how it was computed (A1111's `Batch size` and `Batch pos`); precision likewise, where
    it was not float32.  mix: of several adapters used together, each as A1111 knows it, its weight and its hash; run
    then names all of them, and lora_hash is none.
    """

    request: Request
    model: str = ""
    model_hash: str = ""
    lora: str = ""
    lora_hash: str = ""
    run: str = ""
    batch_size: int = 1
    batch_position: int = 0
    precision: Precision = Precision.float32
    mix: tuple[tuple[str, float, str], ...] = ()


def write_parameters(parameters: Parameters) -> str:
    """Return the text that `read_parameters` and A1111 read."""
    request, sampler = parameters.request, SAMPLERS[parameters.request.scheduler]
    alone = ((parameters.lora, 1.0, parameters.lora_hash),) if parameters.lora else ()
    loras = [(re.sub(r"[:,<>]", "", name), weight, digest) for name, weight, digest in parameters.mix or alone]
    loras = loras if request.lora_scale else []
    in_batch = parameters.batch_size > 1
    pairs = {
        "Steps": request.inference_steps,
        "Sampler": sampler.sampler,
        "Schedule type": sampler.schedule,
        "CFG scale": _number(request.guidance_scale),
        "Eta": None if request.eta is None else _number(request.eta),
        "Seed": request.seed,
        "Size": f"{request.width}x{request.height}",
        "Model hash": parameters.model_hash or None,
        "Model": parameters.model or None,
        "Batch size": parameters.batch_size if in_batch else None,
        "Batch pos": parameters.batch_position if in_batch else None,
        "Precision": parameters.precision.name if parameters.precision is not Precision.float32 else None,
        "RNG": "CPU",  # A1111 draws its noise on the GPU unless told
        "Lora hashes": ", ".join(f"{name}: {digest}" for name, _, digest in loras if digest) or None,
        "Run": parameters.run if loras and parameters.run else None,
        "Mix scale": _number(request.lora_scale) if loras and parameters.mix and request.lora_scale != 1 else None,
        "Version": f"emote {emote.__version__}",
    }
    tags = [f" {LORA_TAG}{name}:{_number(weight * request.lora_scale)}>" for name, weight, _ in loras]
    lines = [request.prompt + "".join(tags)]
    if request.negative_prompt:
        lines.append(f"{NEGATIVE} {request.negative_prompt}")
    lines.append(", ".join(f"{key}: {_quoted(value)}" for key, value in pairs.items() if value is not None))
    return "\n".join(lines)


def read_parameters(source: Path | str) -> Parameters:
    """From a PNG (a Path) or from its text (a str). Raises ConfigError where that does not say how it was drawn."""
    text = text_of(source) if isinstance(source, Path) else source
    *lines, last = text.strip().split("\n")
    pairs = {key: _unquoted(value) for key, value in PAIR.findall(last)}
    if len(pairs) < FEWEST_PAIRS:
        raise ConfigError("the image's text does not say with which settings it was drawn")
    cut = next((i for i, line in enumerate(lines) if line.startswith(NEGATIVE)), len(lines))
    prompt, negative = "\n".join(lines[:cut]), "\n".join(lines[cut:]).removeprefix(NEGATIVE)
    adapters = LORA.findall(prompt)
    weights = parse_mix(pairs.get("Run", "")) if adapters else None
    if len(adapters) != (len(weights) if weights else min(len(adapters), 1)):
        raise ConfigError(
            f"the image was drawn with {len(adapters)} adapters together, and does not say which runs or files they are"
        )
    scale = adapters[0][1] if adapters else "0"
    told = dict(pair.strip().partition(": ")[::2] for pair in pairs.get("Lora hashes", "").split(","))
    mix = [(name, weight, told.get(name, "")) for (name, _), (_, weight) in zip(adapters, weights or (), strict=False)]
    try:
        if any(weight is None for _, weight, _ in mix):
            raise ValueError("a weight is missing")
        width, _, height = pairs["Size"].partition("x")
        request = Request(
            prompt=LORA.sub("", prompt),
            negative_prompt=negative,
            seed=int(pairs["Seed"]),
            inference_steps=int(pairs["Steps"]),
            guidance_scale=float(pairs["CFG scale"]),
            scheduler=from_a1111(pairs["Sampler"], pairs.get("Schedule type")),
            lora_scale=float(pairs.get("Mix scale", 1)) if mix else float(scale),
            eta=float(pairs["Eta"]) if "Eta" in pairs else None,
            width=int(width),
            height=int(height),
        )
        return Parameters(
            request,
            model=pairs.get("Model", ""),
            model_hash=pairs.get("Model hash", ""),
            lora="+".join(name for name, _ in adapters),
            lora_hash="" if mix else pairs.get("Lora hashes", "").partition(": ")[2],
            run=pairs.get("Run", ""),
            batch_size=int(pairs.get("Batch size", 1)),
            batch_position=int(pairs.get("Batch pos", 0)),
            precision=Precision(pairs.get("Precision", "float32")),
            mix=tuple((name, float(weight or 0), digest) for name, weight, digest in mix),
        )
    except KeyError as error:
        raise ConfigError(f"the image's text does not say its {error.args[0]}") from error
    except ValueError as error:
        raise ConfigError(f"the image's text cannot be read: {error}") from error


def text_of(file: Path) -> str:
    """Return the text in an image. Raises ConfigError where there is no such file, or it says nothing."""
    try:
        with Image.open(file) as image:
            image.load()  # text may follow the pixels
            text = image.info.get(CHUNK)
    except FileNotFoundError:
        raise ConfigError(f"there is no file {file}") from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise ConfigError(f"{file} is not a readable image: {error}") from error
    if not isinstance(text, str):
        raise ConfigError(f"{file} does not say how it was drawn (programs that edit or send images drop it)")
    return text


def save_png(image: Image.Image, path: Path, text: str | None = None) -> None:
    """Atomically write a PNG with `text`, or with what the image carries itself, in it."""
    text = text if text is not None else image.info.get(CHUNK)
    info = PngInfo()
    if text:
        info.add_text(CHUNK, text)
    write_with(path, lambda temporary: image.save(temporary, format="PNG", pnginfo=info))


def _number(value: float) -> str:
    return str(value).removesuffix(".0")


def _quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ",:\n") else text


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == '"':
        try:
            return str(json.loads(value))
        except ValueError:
            return value
    return value.strip()
