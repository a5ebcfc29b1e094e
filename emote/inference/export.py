"""Say what an adapter file is, and turn it into the other format, a smaller one, or a merged model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from emote.config import ModelConfig, key
from emote.lora.layer_names import COMMENT
from emote.runs.mix_names import parse_mix
from emote.util.console import progress_bar
from emote.util.errors import ConfigError, together
from emote.util.quiet import quiet_libraries

if TYPE_CHECKING:
    import torch

    from emote.lora.adapter_file import Adapter, AdapterFile

# what a header says of training, in the order of the table
TOLD = {
    "ss_output_name": "name", "ss_sd_model_name": "base", "ss_steps": "steps", "ss_learning_rate": "learning rate",
    "ss_num_train_images": "images", "ss_resolution": "resolution", "ss_optimizer": "optimizer", "ss_seed": "seed",
    "modelspec.title": "title", "modelspec.author": "author", "modelspec.license": "licence",
}  # fmt: skip
LONGEST = 60  # letters of one text of a header: it is somebody else's
PART_NAMES = {"unet": "UNet", "text_encoder": "text encoder", "text_encoder_2": "text encoder 2"}


class Target(Enum):
    check = "check"
    diffusers = "diffusers"
    kohya = "kohya"
    fuse = "fuse"


class Numbers(Enum):
    keep = "keep"
    float32 = "float32"
    fp16 = "fp16"
    bf16 = "bf16"


@dataclass
class Export:
    run: str = key("an adapter file, or a run: its name, directory or the start of its identity; "
                   "[a:0.8, b:0.4]: several as one, by weight")  # fmt: skip
    to: Target = key("check: say what it is; diffusers, kohya: that format; fuse: a merged model", default=Target.check)
    output: str | None = key("a file ending .safetensors, or a directory (fuse: in diffusers' layout)", default=None)
    dtype: Numbers = key("of the numbers that are written", default=Numbers.keep)
    rank: int | None = key("reduce to this rank, and say what it costs", default=None, at_least=1, at_most=1024)
    model: str | None = key("fuse: the base model, as for run=; null: the run's own", default=None)
    lora_scale: float = key("fuse: strength of the adapter, 1 as trained", default=1.0)
    runs_dir: str = key("where runs are kept", default="runs")


def export(words: Export) -> None:
    """Do what the words say, and print what was done. Raises ConfigError, with the reason, where it cannot be done."""
    console = Console()
    _check_words(words)
    quiet_libraries()
    from emote.lora.adapter_file import open_adapter

    parts = parse_mix(words.run)
    if words.to is Target.check:
        for name in [name for name, _ in parts] if parts else [words.run]:
            _check(open_adapter(_find_file(replace(words, run=name))), console)
        return
    adapter = _mixed(words, parts, console) if parts else open_adapter(_find_file(words)).load()
    if words.rank is not None or (words.dtype is not Numbers.keep and words.to is not Target.fuse):
        adapter = _changed(adapter, words, console)
    path = _fuse(adapter, words, console) if words.to is Target.fuse else _convert(adapter, words)
    size = sum(entry.stat().st_size for entry in path.rglob("*")) if path.is_dir() else path.stat().st_size
    _say(console, f"{path} ({size / 1e6:.1f} MB)")


def _check_words(words: Export) -> None:
    mistakes = []
    output = Path(words.output).expanduser() if words.output else None
    if words.to is Target.check:
        said = {"output": words.output, "rank": words.rank, "dtype": words.dtype is not Numbers.keep}
        mistakes += [f"{name}= is not for to=check, which writes nothing" for name, value in said.items() if value]
    elif output is None:
        mistakes.append(f"output= is missing: where to write to={words.to.name}")
    elif output.exists() and not (output.is_dir() and words.to is not Target.fuse):
        mistakes.append(f"output={words.output} is there already; name another, or remove it")
    if words.to is not Target.fuse:
        mistakes += ["model= is for to=fuse alone"] if words.model else []
        mistakes += ["lora_scale= is for to=fuse alone"] if words.lora_scale != 1 else []
    if mistakes:
        raise ConfigError(together(mistakes))


def _find_file(words: Export) -> Path:
    from emote.lora.adapter_file import find_adapter_file

    path = Path(words.run).expanduser()
    # a file or directory that needs no base model to be looked at
    if path.exists() and (given := find_adapter_file(path)):
        return given
    file: Path = _find(words).file
    if file.is_dir():
        return file
    beside = [path for path in file.parent.glob("*.safetensors") if path != file]
    # a run's own file in kohya's format has the facts of its training
    return beside[0] if words.to is Target.kohya and len(beside) == 1 else file


def _find(words: Export) -> Any:
    from emote.inference.resolve_adapter import find_adapter

    return find_adapter(words.run, Path(words.runs_dir), _model(words.model) if words.model else None)


def _mixed(words: Export, parts: list[tuple[str, float | None]], console: Console) -> Adapter:
    """One adapter that is the sum of several: exact, with ranks that add up, until rank= reduces it."""
    from emote.lora.adapter_file import open_adapter
    from emote.lora.mix import Part, mix

    found, fast = [], ""
    for name, weight in parts:
        one = replace(words, run=name)
        adapter, known = open_adapter(_find_file(one)).load(), _known(one)
        as_alone = known.lora_scale if known else 1.0
        found.append(Part(name, adapter, as_alone if weight is None else weight))
        fast = fast or (f"; {known.few_steps.family}" if known and known.few_steps else "")
    adapter = mix(found)
    ranks = _counted(Counter(layer.rank for layer in adapter.layers.values()))
    told = " + ".join(f"{part.weight:g} × {part.label}" for part in found)
    _say(console, f"{told}: {len(adapter.layers)} layers of rank {ranks}; nothing is lost but float32's rounding")
    return replace(adapter, metadata={COMMENT: f"{told}{fast}"})


def _known(words: Export) -> Any:
    """What `run=` finds; None for a file whose base model is not known."""
    try:
        return _find(words)
    except ConfigError:
        return None


def _model(name: str) -> ModelConfig:
    from emote.models.presets import model_named

    return model_named(name)


def _check(file: AdapterFile, console: Console) -> None:
    _say(console, f"{file.path} ({file.header.size_bytes / 1e6:.1f} MB, {len(file.header.shapes)} tensors)")
    rows = list(_rows(file))
    try:
        adapter = file.load()
    except ConfigError:
        _print_table(rows, console)
        raise
    _print_table([*rows, *_rows_of_layers(adapter, file)], console)


def _rows(file: AdapterFile) -> Iterator[tuple[str, str]]:
    """What the header says."""
    from emote.lora.base_family import LABELS, OTHER

    yield "format", file.format.value
    if file.problem is None:
        version = file.header.metadata.get("ss_base_model_version", OTHER[0])
        known = (OTHER[0], LABELS.get(file.base, OTHER)[0])
        yield "base", f"{file.base.value}{'' if version in known else f', but it says {_clean(version)}'}"
        yield "layers", ", ".join(f"{PART_NAMES[part]} {count}" for part, count in file.parts().items())
        yield "rank", _counted(file.ranks())
        words = f"; embeddings of {', '.join(map(_clean, file.embeddings[:3]))}, which are not used"
        yield "tensors", f"all belong to layers{words if file.embeddings else ''}"
    yield "numbers", _counted(Counter(str(dtype).removeprefix("torch.") for dtype, _ in file.header.shapes.values()))
    told = [
        f"{label} {_clean(file.header.metadata[name])}" for name, label in TOLD.items() if name in file.header.metadata
    ]
    yield "says of itself", "; ".join(told) or "nothing"


def _rows_of_layers(adapter: Adapter, file: AdapterFile) -> Iterator[tuple[str, str]]:
    from emote.lora.resize import norm

    alphas = Counter(f"{layer.alpha:g}" for layer in adapter.layers.values())
    yield "alpha", _counted(alphas) if file.has_alpha else "not stored, so read as the rank"
    yield "read by", _readers(adapter)
    sizes = [norm([layer]) for layer in adapter.layers.values()]
    untouched = f"; {sizes.count(0.0)} layers change nothing" if 0.0 in sizes else ""
    yield "‖ΔW‖", f"{sum(size**2 for size in sizes) ** 0.5:.4g} over all layers{untouched}"


def _readers(adapter: Adapter) -> str:
    from emote.lora.adapter_file import Format

    if adapter.format is Format.kohya:
        parts = {name.split(".")[0] for name in adapter.layers}
        alphas = [{layer.alpha for name, layer in adapter.layers.items() if name.startswith(f"{p}.")} for p in parts]
        if any(len(of_part) > 1 for of_part in alphas):
            return (
                "kohya's scripts, ComfyUI, A1111; diffusers misreads layers of different alpha: for it set to=diffusers"
            )
        return "diffusers, kohya's scripts, ComfyUI, A1111"
    if adapter.format is Format.original:
        return "ComfyUI; for kohya's scripts and A1111 set to=kohya, for diffusers to=diffusers"
    if adapter.format is Format.peft:
        return "peft; for diffusers set to=diffusers, for ComfyUI and A1111 to=kohya"
    return "diffusers; for ComfyUI and A1111 set to=kohya"


def _changed(adapter: Adapter, words: Export, console: Console) -> Adapter:
    """Smaller or of other numbers, with a line on what that costs."""
    from emote.lora.resize import cast, cost, reduce_rank

    dtype = None if words.to is Target.fuse else _dtype(words.dtype)
    with _progress("reduce", console) as track:
        changed = reduce_rank(adapter, words.rank, track, dtype) if words.rank is not None else adapter
        changed = cast(changed, dtype) if dtype is not None else changed
        paid = cost(adapter, changed, track)
    before, after = (_counted(Counter(layer.rank for layer in x.layers.values())) for x in (adapter, changed))
    what = " and ".join(
        [f"rank {before} → {after}"] * (words.rank is not None) + [f"dtype {words.dtype.name}"] * (dtype is not None)
    )
    if paid.overall == 0:
        _say(console, f"{what}: nothing is lost")
    else:
        _say(console, f"{what}: {_share(paid.overall)} of ΔW is lost (Frobenius)")
        _say(console, f"most in {paid.worst_layer}: {_share(paid.worst)}")
    return changed


def _convert(adapter: Adapter, words: Export) -> Path:
    from emote.lora.formats import DIFFUSERS_FILE, write_diffusers, write_kohya

    path = Path(str(words.output)).expanduser()
    if path.suffix != ".safetensors" and parse_mix(words.run):
        path = path / (DIFFUSERS_FILE if words.to is Target.diffusers else "mix.safetensors")
    elif path.suffix != ".safetensors":
        stem = Path(words.run).stem if Path(words.run).suffix == ".safetensors" else Path(words.run).resolve().name
        path = path / (DIFFUSERS_FILE if words.to is Target.diffusers else f"{stem}.safetensors")
    if path.exists():
        raise ConfigError(f"output={path} is there already; name another, or remove it")
    return write_diffusers(adapter, path) if words.to is Target.diffusers else write_kohya(adapter, path)


def _fuse(adapter: Adapter, words: Export, console: Console) -> Path:
    from emote.lora.fuse import Recipe, fuse_to_directory, fuse_to_file
    from emote.models.locate import locate

    found = None if words.model else _find(words)
    config = found.base if found else _model(words.model or "")
    if found and found.recommended and words.lora_scale == 1 != found.lora_scale:
        _say(console, f"note: fused as trained; its evaluation recommends lora_scale={found.lora_scale:g}")
    base = locate(config)
    recipe = Recipe(adapter, words.lora_scale, _dtype(words.dtype))
    path = Path(str(words.output)).expanduser()
    fuse = fuse_to_file if path.suffix == ".safetensors" else fuse_to_directory
    with _bar("fuse", console) as begin:
        return fuse(recipe, base, config.variant, path, begin)


def _dtype(numbers: Numbers) -> torch.dtype | None:
    import torch

    return {
        Numbers.keep: None, Numbers.float32: torch.float32, Numbers.fp16: torch.float16, Numbers.bf16: torch.bfloat16
    }[numbers]  # fmt: skip


def _share(value: float) -> str:
    return f"{value:.1%}" if value >= 0.001 else f"{value:.1e}"


def _counted(counts: Counter[Any]) -> str:
    """`4`, or with several values `4 (126), 8 (2)`."""
    if len(counts) == 1:
        return str(next(iter(counts)))
    return ", ".join(f"{value} ({count})" for value, count in counts.most_common())


def _clean(text: str) -> str:
    printable = "".join(letter for letter in text if letter.isprintable())
    return printable if len(printable) <= LONGEST else f"{printable[:LONGEST]}…"


def _print_table(rows: list[tuple[str, str]], console: Console) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(value))  # no markup: the values are somebody else's
    console.print(table)


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _bar(what: str, console: Console) -> Iterator[Callable[[int], Callable[[], None]]]:
    with progress_bar(console, transient=True) as progress:

        def begin(total: int) -> Callable[[], None]:
            task = progress.add_task(what, total=total, note="")
            return lambda: progress.advance(task)

        yield begin


@contextmanager
def _progress(what: str, console: Console) -> Iterator[Callable[[Iterable[str]], Iterable[str]]]:
    with _bar(what, console) as begin:

        def track(names: Iterable[str]) -> Iterator[str]:
            known = list(names)
            done = begin(len(known))
            for name in known:
                yield name
                done()

        yield track
