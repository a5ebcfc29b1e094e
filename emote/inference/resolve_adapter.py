"""What `run=` names: the adapter of a run on this disk, an adapter file, one on the Hub, or a mix of several of these;
and what is known of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from emote.config import ModelConfig
from emote.diffusion.few_steps import OBJECTIVES, FewSteps, few_steps_of
from emote.inference.evaluated import evaluation_beside, read_evaluation
from emote.lora.description import of_part
from emote.lora.layer_names import COMMENT, PARTS, PEFT_FILE
from emote.lora.peft_directory import peft_files
from emote.models.presets import find_base, model_named
from emote.runs.find import find_run, finished_runs, known_runs, nearest_run
from emote.runs.mix_names import mix_label, parse_mix
from emote.runs.run_folder import RANK, RunFolder
from emote.util.errors import ConfigError
from emote.util.files import hash_rest, read_tensor_header
from emote.util.hints import did_you_mean, nearest, of_address
from emote.util.places import bundled

if TYPE_CHECKING:
    from emote.lora.adapter_file import Adapter as Layers

ADAPTER_FILE = "pytorch_lora_weights.safetensors"  # diffusers' own name
SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")  # of what somebody means as a file
CONFIG_FILE = "config.yaml"
BEST = "best-at-step-"  # a folder in a step's, with the adapter that had the lowest held-out loss
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
BY_SHAPE = {"sd1": "sd15", "miniature": "mini"}  # what an adapter's shapes fit → an option of conf/model
GUIDANCE = 7.5
SHORT_HASH = 12  # hex digits, as A1111 shows them
ART_LICENCES = {"openmoji": "CC BY-SA 4.0 (OpenMoji)", "twemoji": "CC BY 4.0 (Twemoji)"}
BASE_LICENCES = {
    "weights/mini": "CC BY 4.0 (the miniature)",
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "CreativeML OpenRAIL-M (Stable Diffusion 1.5)",
}


@dataclass(frozen=True)
class Adapter:
    """An adapter and the facts of the run that made it, as far as they are known.

    label: short and without anybody's folders; for runs and Hub names, `run=<label>` finds it again. name: what A1111
    would call its file. resolution: in pixels. guidance_scale, lora_scale: what an evaluation recommends, else those
    with which its run drew. caption: template of the training captions with `{text}`; None where unknown. prompts:
    those that its run drew. background: the colour under its training images. recommended: whether and why.
    few_steps: how it is drawn with, of one that was made to draw in a few steps. parts: of a mix, each with its weight;
    all else is then of the first that is no speed adapter, but for few_steps.
    """

    file: Path
    label: str
    name: str
    base: ModelConfig
    resolution: int
    guidance_scale: float = GUIDANCE
    lora_scale: float = 1.0
    prompts: tuple[str, ...] = ()
    caption: str | None = None
    background: str | None = None
    licence: str = ""
    recommended: str = ""
    few_steps: FewSteps | None = None
    parts: tuple[tuple[Adapter, float], ...] = ()

    @cached_property
    def short_hash(self) -> str:
        if not self.parts:
            return adapter_hash(self.file)
        told = repr([(part.short_hash, weight) for part, weight in self.parts])
        return hashlib.sha256(told.encode()).hexdigest()[:SHORT_HASH]

    def load(self) -> Layers:
        """Return its layers. Raises ConfigError where a file is gone or damaged, or a mix does not add up."""
        from emote.lora.adapter_file import read_adapter  # late: it imports torch

        if not self.parts:
            if not self.file.exists():
                raise ConfigError(f"there is no adapter at {self.file}")
            return read_adapter(self.file)
        from emote.lora.mix import Part, mix

        return mix([Part(part.label, part.load(), weight) for part, weight in self.parts])


def find_adapter(run: str, runs_dir: Path = Path("runs"), model: ModelConfig | None = None) -> Adapter:
    """The adapter that `run` names; of a run with several finished step counts the last.

    run: `[a:0.8, b:0.4]`, a mix of several by their weights, or one of them: `latest`, a run's name or the start of its
    identity, `<run>/<steps>`, of nested ranks `<run>/<steps>/rank-<r>`, the directory of any, an adapter file, or a Hub
    name with or without a file in it. model: the base model to use instead of the adapter's own.
    Raises ConfigError, with the nearest name, for what is not there, and where no base model is known.
    """
    if (parts := parse_mix(run)) is not None:
        return mixed([(find_adapter(name, runs_dir, model), weight) for name, weight in parts])
    if address := of_address("run", run, in_it=True):
        raise ConfigError(address)
    path = Path(run).expanduser()
    if not run:
        raise ConfigError(f"run must name a run, an adapter file or a Hub name, got nothing; {known_runs(runs_dir)}")
    if path.suffix.lower() in SUFFIXES and path.is_file():
        return _of_file(path, model)
    for directory in (path, runs_dir / path):
        if directory.is_dir() and (file := _file_in(directory)):
            return _of_file(file, model)
    name, _, step = run.partition("/")
    if folder := find_run(run, runs_dir):
        return _of_run(folder, "", model)
    for directory in (bundled("weights") / path, bundled(run)):  # mini-speed comes with emote
        if directory.is_dir() and (file := _file_in(directory)):
            return _of_file(file, model)
    # else a Hub name, whose owner may be called like a run
    if (step.partition("/")[0].isdecimal() or step.startswith(BEST)) and (folder := find_run(name, runs_dir)):
        return _of_run(folder, step, model)
    if path.is_file():  # called otherwise than adapters are; a run of that name is meant before it
        return _of_file(path, model)
    if problem := _mistyped(path):
        raise ConfigError(f"run={run} {problem}; {known_runs(runs_dir)}")
    if HUB_NAME.fullmatch("/".join(run.split("/")[:2])) and not path.is_absolute():
        return _of_hub(run, runs_dir, model)
    close = nearest_run(run, finished_runs(runs_dir))
    hint = f"did you mean {close}? " if close else ""
    raise ConfigError(
        f"run={run} is not a run in {runs_dir}, an adapter file or a Hub name; {hint}{known_runs(runs_dir)}"
    )


def mixed(parts: Sequence[tuple[Adapter, float | None]]) -> Adapter:
    """Return several adapters as one; a weight of None is the strength that the adapter is drawn with alone.

    Raises ConfigError, before a weight is read, for a DoRA and for adapters of different kinds of base models.
    """
    from emote.lora.adapter_file import open_adapter  # late: it imports torch
    from emote.lora.layer_names import MAGNITUDE
    from emote.lora.mix import check_bases, check_mixed

    weighed = tuple((part, part.lora_scale if weight is None else weight) for part, weight in parts)
    opened = [(part.label, open_adapter(part.file)) for part, _ in weighed if not part.parts]
    for label, file in opened:
        check_mixed(label, any(MAGNITUDE in roles for roles in file.keys.values()))
    check_bases([(label, file.base) for label, file in opened])
    fast = [part.few_steps for part, weight in weighed if part.few_steps and weight]
    first = next((part for part, _ in weighed if not part.few_steps), weighed[0][0])
    licences = dict.fromkeys(text for part, _ in weighed for text in part.licence.split("; ") if text)
    return replace(
        first,
        label=mix_label([(part.label, weight) for part, weight in weighed]),
        name="+".join(part.name for part, _ in weighed),
        lora_scale=1.0,
        licence="; ".join(licences),
        recommended="",
        few_steps=fast[0] if fast else None,
        parts=weighed,
    )


def _file_in(directory: Path) -> Path | None:
    """The adapter file of a directory that is no run's."""
    if (directory / ADAPTER_FILE).is_file():
        return directory / ADAPTER_FILE
    if (directory / "steps").is_dir():
        return None
    from emote.lora.adapter_file import find_adapter_file  # late: it imports torch

    return find_adapter_file(directory)


def _mistyped(path: Path) -> str | None:
    """What is wrong with what can be a path alone; None where it may be a Hub name."""
    if path.is_dir():
        return f"is a directory without an adapter ({ADAPTER_FILE}, adapter_model.safetensors, or another safetensors)"
    if path.is_symlink():
        return f"is a link to {path.readlink()}, which is not there"
    is_file_name = path.suffix.lower() in SUFFIXES and len(path.parts) <= 2
    folder = path.parent
    near = nearest(path.name, [entry.name for entry in folder.iterdir()]) if folder.is_dir() else None
    if is_file_name or path.is_absolute() or path.parts[:1] == ("..",) or (near and len(path.parts) > 1):
        reason = did_you_mean(str(folder / near)) if near else ""
        return f"is not there{reason}" if folder.is_dir() else f"is not there: there is no directory {folder}"
    return None


def list_adapters(runs_dir: Path = Path("runs")) -> list[Adapter]:
    """The last adapter of every finished run on this disk, the newest first."""
    found = []
    for folder in finished_runs(runs_dir):
        try:
            found.append(_of_run(folder, "", None))
        except ConfigError:
            continue  # half-deleted, or of another version: `run=` says what is wrong with it
    return found


def adapters_with_hash(short_hash: str, runs_dir: Path = Path("runs")) -> Iterator[Adapter]:
    """Every adapter of the runs on this disk that has this hash."""
    for file in sorted(runs_dir.glob(f"*/steps/[0-9]*/**/{ADAPTER_FILE}")):
        try:
            adapter = _of_file(file, None)
        except ConfigError:
            continue
        if adapter.short_hash == short_hash:
            yield adapter


def adapter_hash(file: Path) -> str:
    """Of the file that A1111 would load: the one in kohya's format, where it lies beside a run's own.

    Of a directory of several parts, which A1111 does not load, it is of them all.
    """
    if file.is_dir():
        parts = "".join(map(tensor_hash, peft_files(file)))
        return hashlib.sha256(parts.encode()).hexdigest()[:SHORT_HASH]
    others = [other for other in file.parent.glob("*.safetensors") if other.name != ADAPTER_FILE]
    return tensor_hash(others[0] if file.name == ADAPTER_FILE and len(others) == 1 else file)[:SHORT_HASH]


def tensor_hash(file: Path) -> str:
    """SHA-256 of a safetensors file's bytes after the header: what A1111 and kohya identify a LoRA by."""
    if not file.is_file():
        raise ConfigError(f"run: {file} is not there any more; choose another run")
    with file.open("rb") as stream:
        try:
            read_tensor_header(stream)
        except (ValueError, OverflowError, MemoryError, RecursionError) as error:
            raise ConfigError(f"run: {file} is damaged: its header cannot be read") from error
        return hash_rest(stream, hashlib.sha256())


def _of_run(folder: RunFolder, step: str, model: ModelConfig | None) -> Adapter:
    """step: one of the finished counts, with or without /rank-<r>, or best-at-step-<step>; "" for the last."""
    paths = [folder.deliverables(count) for count in folder.delivered_steps()]
    if not paths:
        raise ConfigError(
            f"run={folder.name} has no finished step count yet; the command that began it goes on with it"
        )
    if not step:
        return _of_file(_adapter_in(paths[-1]), model)
    count, _, rank = step.partition("/")
    for path in reversed(paths):
        if count.isdecimal() and int(count) == int(path.name):
            return _of_file(_adapter_in(path / rank), model)
        if step.startswith(BEST) and (path / step).is_dir():
            return _of_file(_adapter_in(path / step), model)
    known = ", ".join(str(int(path.name)) for path in paths)
    raise ConfigError(f"run={folder.name}/{step} names no finished step count; there are {known}")


def _adapter_in(directory: Path) -> Path:
    if not (directory / ADAPTER_FILE).is_file():
        ranks = sorted((path.name for path in directory.parent.glob(f"{RANK}*")), key=lambda name: (len(name), name))
        hint = f"; there are {', '.join(ranks)}" if directory.name.startswith(RANK) and ranks else ""
        raise ConfigError(f"run: {directory} has no {ADAPTER_FILE}{hint}")
    return directory / ADAPTER_FILE


def _of_file(file: Path, model: ModelConfig | None) -> Adapter:
    """A step's own file knows its run; its best adapter, one folder below, does too; of others the header is read."""
    folder = file.resolve().parent
    if file.is_dir():
        name = file.resolve().name
    else:
        name = folder.name if file.name in (ADAPTER_FILE, PEFT_FILE) else file.stem
    described = _config_of(file)
    if not described:
        return _bare(file, name, name, model, None)
    step = folder.parent if folder.name.startswith((BEST, RANK)) else folder
    if step.parent.name == "steps" and step.name.isdecimal():
        which = str(int(step.name)) if step == folder else folder.name
        if folder.name.startswith(RANK):
            which = f"{int(step.name)}/{folder.name}"
        return _described(file, f"{step.parent.parent.name}/{which}", described, model)
    return _described(file, name, described, model)


def _of_hub(run: str, runs_dir: Path, model: ModelConfig | None) -> Adapter:
    from emote.inference.hub_adapter import download  # late: few need it

    try:
        file, base, licence = download(run, ADAPTER_FILE)
    except ConfigError as error:
        raise ConfigError(f"{error}\n{known_runs(runs_dir)}") from error
    described = _config_of(file)
    if described:
        return _described(file, run, described, model)
    adapter = _bare(file, run, run.split("/")[1], model, base)
    return replace(adapter, licence=licence)


def _bare(file: Path, label: str, name: str, model: ModelConfig | None, base: str | None) -> Adapter:
    """An adapter without its run's configuration: what it was trained on, its texts and shapes tell."""
    from emote.lora.adapter_file import open_adapter  # late: it imports torch

    opened = open_adapter(file)
    if opened.problem:
        raise ConfigError(f"run: {file} {opened.problem}")
    told = base or opened.header.metadata.get("ss_sd_model_name") or _base_described(opened.described)
    if model is None and isinstance(told, str) and HUB_NAME.fullmatch(told):
        model = model_named(told)
    elif model is None and opened.base.name in BY_SHAPE:
        model = model_named(BY_SHAPE[opened.base.name])
    if model is None:
        raise ConfigError(
            f"run={label} does not say which base model it was trained on, and its shapes fit {opened.base.value}; "
            "set model="
        )
    side = re.match(r"\(?(\d+)", opened.header.metadata.get("ss_resolution", ""))
    side_px = int(side.group(1)) if side else find_base(model).side_px
    texts = [opened.header.metadata.get(name, "") for name in ("modelspec.title", COMMENT)]
    few = few_steps_of(label, file.name, *texts)
    guidance = few.guidance_scale if few else GUIDANCE
    return _as_recommended(Adapter(file, label, name, model, side_px, guidance, few_steps=few))


def _base_described(described: Mapping[str, Any]) -> Any:
    """The base model by peft's settings."""
    return next((base for part in PARTS if (base := of_part(described, part, "base_model_name_or_path"))), None)


def _described(file: Path, label: str, config: dict[str, Any], model: ModelConfig | None) -> Adapter:
    try:
        samples, data = config["callbacks"]["samples"], config["data"]
        known = {name: config["model"].get(name) for name in (entry.name for entry in fields(ModelConfig))}
        source = str(data["source"])
        art = data.get("licence") or ART_LICENCES.get(source, f"the terms of {_shown_path(data)}")
        base = str(known["path"])
        adapter = Adapter(
            file=file,
            label=label,
            name=str(config["name"]),
            base=model or ModelConfig(**known),
            resolution=int(data["resolution"]),
            guidance_scale=float(samples["guidance_scale"]),
            lora_scale=float(samples.get("lora_scale", 1.0)),
            prompts=tuple(str(prompt) for prompt in samples["prompts"]),
            caption=str(data["caption"]).replace("{style}", source),
            background=str(data["background"]),
            licence=f"{art}; {BASE_LICENCES.get(base, f'the terms of {Path(base).name}')}",
            few_steps=OBJECTIVES.get(str((config.get("trainer") or {}).get("objective"))),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"run: the configuration beside {file} cannot be read ({error!r})") from error
    return _as_recommended(adapter)


def _as_recommended(adapter: Adapter) -> Adapter:
    """With the strength that an evaluation of these very weights recommends, where there was one."""
    beside = evaluation_beside(adapter.file, ADAPTER_FILE)
    told = read_evaluation(beside, adapter.short_hash).get("recommended") if beside.is_file() else None
    if not told:
        return adapter
    try:
        guidance = adapter.guidance_scale if told["guidance_scale"] is None else float(told["guidance_scale"])
        return replace(
            adapter, lora_scale=float(told["lora_scale"]), guidance_scale=guidance, recommended=str(told["reason"])
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"run: {beside} cannot be read ({error!r}); remove it, or evaluate again") from error


def _shown_path(data: Mapping[str, Any]) -> str:
    """What may be published of where the images lay: a Hub name, or the last part of a path of this machine."""
    path = str(data.get("path") or "its images")
    return path if str(data["source"]) == "hub" else Path(path).name


def _config_of(file: Path) -> dict[str, Any]:
    """Of the run that delivered the file; {} where there is none beside it or one folder above."""
    start = file if file.is_dir() else file.parent
    for folder in (start, start.parent):
        if (folder / CONFIG_FILE).is_file():
            try:
                values = OmegaConf.to_container(OmegaConf.load(folder / CONFIG_FILE))
            except (OmegaConfBaseException, YAMLError, OSError, ValueError) as error:
                reason = str(error).splitlines()[0]
                raise ConfigError(f"run: {folder / CONFIG_FILE} cannot be read: {reason}") from error
            return {str(k): v for k, v in values.items()} if isinstance(values, dict) and "lora" in values else {}
    return {}
