"""What an evaluation draws, and with what: every mistake in its words is found before a weight is loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from emote.config import SOURCE, DataConfig
from emote.evaluation.images.judge import JudgeConfig, judge_named, judge_of
from emote.evaluation.images.reference import Prompt, Reference, read_reference
from emote.experiments.evaluation.options import EvaluateOptions
from emote.inference.request import Request
from emote.inference.resolve_adapter import CONFIG_FILE, GUIDANCE, Adapter, find_adapter
from emote.models.presets import Base, find_base
from emote.runs.damage import read_settings
from emote.runs.find import LATEST
from emote.runs.run_folder import RANK
from emote.util.errors import ConfigError
from emote.util.places import CONF

AGAIN_PROMPTS, AGAIN_SEEDS = 24, 4  # for diversity
SHARE_HELD_OUT = 0.2  # of a set that is named on the command line


@dataclass(frozen=True)
class Replica:
    """recipe: what an adapter has in common with those that differ from it by their seed alone. seed: which one."""

    recipe: str
    seed: str


@dataclass(frozen=True)
class Plan:
    """adapters: what is compared, the first one's set and settings being those of all. replicas: what each is a
    replicate of; None where nothing is known.
    """

    options: EvaluateOptions
    adapters: list[Adapter]
    replicas: list[Replica | None]
    base: Base
    data: DataConfig
    template: str
    reference: Reference
    judge: JudgeConfig
    guidance_scale: float
    prompts: list[Prompt]
    output: Path

    @property
    def drawn_prompts(self) -> list[Prompt]:
        """One for each image of the table."""
        return [prompt for prompt in self.prompts for _ in range(self.options.seeds)]

    def requests(
        self, adapter: Adapter | None, scale: float, guidance_scale: float, count: int | None = None
    ) -> list[Request]:
        """Of the table, or of its first prompts for a point of the curve. adapter: None for the base model."""
        chosen = _spread(self.prompts, count) if count is not None else self.prompts
        numbers = range(self.options.seeds if count is None else 1)
        return [self._request(adapter, p.caption, number, scale, guidance_scale) for p in chosen for number in numbers]

    def curve_prompts(self) -> list[Prompt]:
        return _spread(self.prompts, self.options.curve_prompts)

    def again(self, adapter: Adapter | None, scale: float) -> tuple[list[Request], list[str]]:
        """Several seeds of a few prompts, and the concept of each."""
        chosen = _spread(self.prompts, AGAIN_PROMPTS)
        pairs = [(prompt, number) for prompt in chosen for number in range(AGAIN_SEEDS)]
        requests = [self._request(adapter, p.caption, number, scale, self.guidance_scale) for p, number in pairs]
        return requests, [prompt.concept for prompt, _ in pairs]

    def away(self, adapter: Adapter | None, scale: float) -> list[Request]:
        return [self._request(adapter, caption, 0, scale, self.guidance_scale) for caption in self.judge.away]

    def _request(
        self, adapter: Adapter | None, caption: str, number: int, scale: float, guidance_scale: float
    ) -> Request:
        few = adapter.few_steps if adapter and scale else None
        how: dict[str, Any] = {"inference_steps": self.options.inference_steps, "guidance_scale": guidance_scale}
        if few:  # a speed adapter is drawn with its own few steps; what it is compared with, as ever
            how = few.settings(self.options.few_steps)
        return Request(
            prompt=caption, seed=noise_seed(caption, number, self.options.seed), width=self.data.resolution,
            height=self.data.resolution, lora_scale=scale, **how,
        )  # fmt: skip


def noise_seed(caption: str, number: int, seed: int) -> int:
    """The noise follows the words and not their place, so that more prompts leave the drawings of the others."""
    return int(hashlib.sha256(f"{seed}:{number}:{caption}".encode()).hexdigest()[:8], 16)


def _spread(prompts: Sequence[Prompt], count: int) -> list[Prompt]:
    """So many, from held-out and training concepts alike."""
    held = [prompt for prompt in prompts if prompt.held_out]
    trained = [prompt for prompt in prompts if not prompt.held_out]
    half = min(len(held), max(count - len(trained), (count + 1) // 2))
    return [*held[:half], *trained[: count - half]]


def plan_evaluation(options: EvaluateOptions) -> Plan:
    """Raises ConfigError for runs that are not there, or not of one base model and one set."""
    said = options.runs or [options.run if options.run is not None else LATEST]
    adapters = [find_adapter(name, Path(options.runs_dir)) for name in said]
    first = adapters[0]
    for other in adapters[1:]:
        if other.base.path != first.base.path:
            raise ConfigError(
                f"runs must be of one base model: {first.label} is of {first.base.path}, {other.label} of "
                f"{other.base.path}; evaluate them one by one"
            )
    base = find_base(first.base, Path(options.cache_dir))
    data = _data_of(options, adapters, base)
    template = data.caption.replace("{style}", str(data.source))
    judge = judge_named(options.judge or judge_of(first.base.path))
    reference = read_reference(data, template)
    prompts = reference.names.prompts(options.prompts, options.seed)
    guided = [each.guidance_scale for each in adapters if not each.few_steps or each.guidance_scale > 1]
    guidance = options.guidance_scale if options.guidance_scale is not None else next(iter(guided), GUIDANCE)
    output = Path(options.output) if options.output else Path(options.runs_dir) / "evaluations" / _title(adapters)
    return Plan(
        options, adapters, [_replica(adapter) for adapter in adapters], base, data, template, reference, judge,
        guidance, prompts, output,
    )  # fmt: skip


def _title(adapters: Sequence[Adapter]) -> str:
    labels = [adapter.label.replace("/", "-") for adapter in adapters]
    joined = "+".join(labels)
    if len(joined) <= 80:
        return joined
    return f"{labels[0]}+{len(labels) - 1}-{hashlib.sha256(joined.encode()).hexdigest()[:8]}"


def _data_of(options: EvaluateOptions, adapters: Sequence[Adapter], base: Base) -> DataConfig:
    """The set that all runs were trained on, or what the words name instead."""
    if options.data is not None:
        template = next((adapter.caption for adapter in adapters if adapter.caption), default_data()["caption"])
        if problem := SOURCE.problem("data", options.data):
            raise ConfigError(problem)
        told = default_data() | {"source": options.data, "path": options.data_path, "caption": template}
        if (what := getattr(SOURCE.load(options.data), "PATH", None)) and not options.data_path:
            raise ConfigError(f"data_path must name {what} when data={options.data}, got nothing; set data_path=")
        return _as_data({**told, "resolution": adapters[0].resolution or base.side_px}, "data")
    if options.data_path is not None:
        raise ConfigError("data_path says nothing without data=; set data=folder or data=hub")
    known = [_config_beside(adapter) for adapter in adapters]
    for adapter, config in zip(adapters, known, strict=True):
        if not config:
            raise ConfigError(
                f"{adapter.label} does not say which images it was trained on; set data=openmoji, data=twemoji, or "
                "data=folder with data_path="
            )
    sets = [_as_data(config["data"], adapter.label) for adapter, config in zip(adapters, known, strict=True)]
    for adapter, other in zip(adapters[1:], sets[1:], strict=True):
        if replace(other, flip=sets[0].flip) != sets[0]:
            raise ConfigError(
                f"runs must be of one set, prepared alike: {adapters[0].label} and {adapter.label} differ in data.*; "
                "evaluate them one by one, or say which images with data="
            )
    if not sets[0].held_out and all(adapter.few_steps for adapter in adapters):
        return replace(sets[0], held_out=SHARE_HELD_OUT)  # a speed adapter learns from the base, not from the images
    return sets[0]


def default_data() -> dict[str, Any]:
    """What a run of an earlier revision, or a set that is only named, does not say: as conf/data has it."""
    values = OmegaConf.to_container(OmegaConf.load(CONF / "data" / "_base.yaml"), resolve=False)
    assert isinstance(values, dict)
    del values["resolution"]
    return {str(name): value for name, value in values.items()} | {"held_out": SHARE_HELD_OUT, "options": {}}


def _as_data(values: dict[str, Any], whose: str) -> DataConfig:
    try:
        known = {name: values[name] for name in DataConfig.__dataclass_fields__ if name in values}
        merged = OmegaConf.merge(OmegaConf.structured(DataConfig), OmegaConf.create(default_data() | known))
        found = OmegaConf.to_object(merged)
        assert isinstance(found, DataConfig)
        return found
    except OmegaConfBaseException as error:
        raise ConfigError(f"{whose}: its data section cannot be read: {str(error).splitlines()[0]}") from error


def _config_beside(adapter: Adapter) -> dict[str, Any]:
    """The configuration of the run; {} where it is unknown."""
    for folder in (adapter.file.parent, adapter.file.parent.parent):
        if (folder / CONFIG_FILE).is_file():
            told = read_settings(folder / CONFIG_FILE)
            return told if "data" in told else {}
    return {}


def _replica(adapter: Adapter) -> Replica | None:
    """The recipe is all of the configuration, and the step, but the seeds; a mix has none."""
    if adapter.parts:
        return None
    config = _config_beside(adapter)
    if not config:
        return None
    kept = {name: config.get(name) for name in ("model", "data", "trainer")}
    lora = config.get("lora") or {}
    kept["lora"] = {name: value for name, value in lora.items() if name != "seed"}
    kept["trainer"] = {name: value for name, value in (kept["trainer"] or {}).items() if name != "max_steps"}
    folder = adapter.file.parent
    which = f"{folder.parent.name}/{folder.name}" if folder.name.startswith(RANK) else folder.name
    recipe = yaml.safe_dump([kept, which], sort_keys=True)
    return Replica(recipe, f"{config.get('seed')}, {lora.get('seed')}")
