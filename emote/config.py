"""The whole configuration in one sight: every key with its type, its range and what it means.

Values live in `conf/`, once each; this file holds none. It knows OmegaConf and imports no torch, so that
`--help` and every complaint about a mistake are instant. `problems(config)` is the one place with the rules.
"""

from __future__ import annotations

import functools
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass
from enum import Enum
from string import Formatter
from typing import Any, Dict, List, Optional, get_type_hints

from omegaconf import MISSING, DictConfig, OmegaConf

from emote.util.hints import did_you_mean, nearest
from emote.util.registry import Kind

# What can be added with one file: see docs/extending.md
SOURCE = Kind("source", "emote.data.sources", "read_source")
CAPTIONS = Kind("captions", "emote.data.captions", "find_words")
OPTIMIZER = Kind("optimizer", "emote.training.optimizers", "build_optimizer")
OBJECTIVE = Kind("objective", "emote.diffusion.objectives", "training_error")
WEIGHTING = Kind("loss_weighting", "emote.diffusion.weightings", "loss_weight")
METRIC = Kind("metric", "emote.evaluation.metrics", "measure")
LAUNCHER = Kind("launcher", "emote.sweeps.launchers", "open_launcher")
LOGGER = Kind("logger", "emote.training.loggers", "build_logger")
VARIANT = Kind("lora_variant", "emote.lora.variants", "peft_settings")
SCHEDULE = Kind("schedule", "emote.training.schedules", "learning_rate_factor")


class Fit(Enum):
    pad = "pad"
    crop = "crop"


class OnBadItem(Enum):
    skip = "skip"
    skip_any = "skip_any"
    fail = "fail"


class Frame(Enum):
    best = "best"
    first = "first"
    middle = "middle"
    all = "all"


class Resample(Enum):
    auto = "auto"
    smooth = "smooth"
    nearest = "nearest"


class Init(Enum):
    gaussian = "gaussian"
    kaiming = "kaiming"


class NestedBy(Enum):
    weights = "weights"
    draw = "draw"


class AdapterDtype(Enum):
    float32 = "float32"
    bfloat16 = "bfloat16"


class Precision(Enum):
    auto = "auto"
    float32 = "float32"
    fp16 = "fp16"
    bf16 = "bf16"


class Accelerator(Enum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Stop(Enum):
    plateau = "plateau"


RANDOM_BACKGROUND = "random"  # the value of `data.background` that is no colour

# What `lora.targets` may name. A module of the UNet is a target when its name is, or ends with `.` and, one of these.
TARGET_PRESETS: dict[str, tuple[str, ...]] = {
    "attention": ("to_q", "to_k", "to_v", "to_out.0"),
    "attention_ff": ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2"),
    "all": ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out",
            "conv1", "conv2", "conv_shortcut", "time_emb_proj", "conv"),
}  # fmt: skip


LARGEST_HALF = 65504  # the largest number of 16-bit floats

COUNTS = object()  # of a key whose every value is a part of the identity


def key(
    meaning: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    default: Any = MISSING,
    kind: Kind | None = None,
    before: Any = COUNTS,
    word: str | None = None,
) -> Any:
    """Return a configuration key: what it means, and the range of its value (or of each value of a list).

    kind: what it chooses, by name or as a mapping with `_target_`.  before: the value that means what was done before
    the key existed. There it is no part of a run's identity, whatever its default is now, so that every finished run
    is found again.  word: that is taken beside an integer; `to_dataclass` puts a number in its place.
    """
    limits = {"at_least": at_least, "above": above, "at_most": at_most, "below": below}
    metadata = {
        "meaning": meaning, "limits": {name: v for name, v in limits.items() if v is not None}, "kind": kind,
        "before": before, "word": word,
    }  # fmt: skip
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class ModelConfig:
    path: str = key("base model: a diffusers directory, a Hub name, or a single .safetensors file as CivitAI has them")
    revision: Optional[str] = key("Hub revision (commit, tag or branch)")
    variant: Optional[str] = key("weight files to prefer, such as fp16")
    resolution: int = key("side in pixels that data.resolution follows", at_least=8)
    resolution_multiple: int = key("pixels for one latent: what data.resolution must be divisible by", at_least=1)
    config: Optional[str] = key("single file: a diffusers directory or Hub name that it is configured as; null: SD 1.5")


@dataclass
class LoraConfig:
    rank: int = key("rank of the adapter", at_least=1, at_most=1024)
    alpha: float = key("the adapter's output is scaled by alpha / rank", above=0)
    dropout: float = key("dropout on the adapter's input", at_least=0, below=1)
    targets: Any = key("attention, attention_ff, all, or a list of module names")
    init: Init = key("distribution of A at the start (B is zero)")
    dtype: AdapterDtype = key("the adapter's own dtype; bfloat16 stops small updates (kept for the reported run)")
    seed: int = key("seed of A, and of the adapter's dropout", at_least=0)
    init_from: Optional[str] = key("adapter to start from, a file or directory of any tool; null: lora.init")
    variant: Any = key("how the adapter acts on a weight", kind=VARIANT, before="lora")
    options: Any = key("of the variant, by its name", default={})
    nested: List[int] = key(
        "ranks, the last of them lora.rank: the first r components learn to be an adapter of rank r, for each r; "
        "[] for lora.rank alone", at_least=1, before=[],
    )  # fmt: skip
    nested_by: NestedBy = key(
        "of nested ranks; draw: each step trains one of them by chance (DyLoRA); weights: their mean (MatryoshkaLoRA)"
    )


@dataclass
class DataConfig:
    source: Any = key("where images come from", kind=SOURCE)
    path: Optional[str] = key("folder: a directory or .zip; table: .csv or .jsonl; hub: a dataset's name or directory")
    config: Optional[str] = key("hub: which configuration, where the dataset has several")
    revision: Optional[str] = key("hub: revision of the dataset")
    split: str = key("hub: which split")
    image_column: str = key("hub and table: the column with the image")
    text_column: str = key("hub, table and folder metadata: the column with the caption")
    captions: Any = key("folder: where the words of an image come from", kind=CAPTIONS)
    caption: str = key("template of the training prompt: {text}, {trigger}, and for art sets {style}; "
                       "without {text} it is the caption of all images")  # fmt: skip
    trigger: Optional[str] = key("word that every caption and sample prompt has, such as myblob; null: none")
    repeats: Any = key("how often images count: auto (kohya's folders such as 20_cat, a column repeats or weight), "
                       "none, a column, or {folder: number}")  # fmt: skip
    resolution: int = key("side of the training square in pixels", at_least=8, at_most=4096)
    background: str = key("colour under transparency and padding: a CSS name, #rrggbb, or random (four an image)")
    background_caption: Optional[str] = key("what captions of transparent images add where the colour is not white: "
                                            "text with {colour} or {a_colour}; null: nothing")  # fmt: skip
    fit: Fit = key("what happens to images that are not square")
    margin: Optional[float] = key("crop to the figure, then leave this share free around it; null: as drawn",
                                  at_least=0, below=0.5)  # fmt: skip
    frame: Frame = key("of animated images; best: the first, or where that shows little the one that shows most")
    resample: Resample = key("enlarging; auto: without blur where an image is small and has few colours (pixel art)")
    flip: bool = key("train on mirror images too, at random")
    held_out: float = key("share of the concepts kept for validation; 0 for none", at_least=0, below=1)
    max_items: Optional[int] = key("use only so many images, chosen by their content; null: all", at_least=1)
    training_items: Optional[int] = key(
        "train on so many of the images that are not held out, chosen by their content; null: on all", at_least=1,
        before=None,
    )  # fmt: skip
    on_bad_item: OnBadItem = key("a broken image or an empty caption: skip (unless most are bad), skip_any, fail")
    licence: Optional[str] = key("of the images, for model card and packs; null: what the source states")
    options: Any = key("of the source, by its name", default={})


@dataclass
class TrainerConfig:
    max_steps: int = key("optimizer steps in all", at_least=1)
    stop: Optional[Stop] = key("plateau: end before max_steps where held-out loss shows no gain; null: go all the way")
    stop_validations: int = key("so many validations without a gain make a plateau", at_least=1)
    batch_size: int = key("images for one optimizer step, over all devices and micro-batches", at_least=1)
    optimizer: Any = key("what turns gradients into updates", kind=OPTIMIZER, before="adamw")
    learning_rate: float = key("peak learning rate", above=0, at_most=1)
    lora_plus_ratio: Optional[float] = key(
        "LoRA+: B learns at so many times the learning rate (arXiv 2402.12354, 16 is usual); null: as A does",
        at_least=1, before=None,
    )  # fmt: skip
    schedule: Any = key("of the learning rate", kind=SCHEDULE)
    schedule_steps: Any = key(
        "where the schedule ends; max_steps makes each length a run of its own, which cannot go on for more",
        at_least=1, word="max_steps",
    )  # fmt: skip
    warmup_steps: int = key("steps of linear warm-up", at_least=0)
    betas: List[float] = key("decay of the optimizer's averages", at_least=0, below=1)
    epsilon: float = key("what the optimizer adds to a divisor", above=0)
    weight_decay: float = key("decoupled weight decay", at_least=0)
    max_grad_norm: Optional[float] = key("clip the gradient's norm to this; null: no clipping", above=0)
    objective: Any = key("what training lowers; held-out loss is squared error always", kind=OBJECTIVE, before="mse")
    loss_weighting: Any = key("how much each noise level counts", kind=WEIGHTING, before="min_snr")
    snr_gamma: Optional[float] = key("min-SNR weighting of the loss (5 is usual); null: none", above=0)
    caption_dropout: float = key("share of captions replaced by the empty one", at_least=0, at_most=1)
    noise_offset: float = key("each channel's noise is shifted as a whole by so much times a normal number (0.05 is "
                              "usual); 0: not", at_least=0, at_most=1, before=0.0)  # fmt: skip
    background_weight: float = key("how much what is transparent in an image counts in the loss; 1: as the figure does",
                                   above=0, at_most=1, before=1.0)  # fmt: skip
    ema_decay: Optional[float] = key(
        "score and deliver a moving average of the adapter that keeps so much at each step (0.99 is usual); null: the "
        "adapter itself", above=0, below=1, before=None,
    )  # fmt: skip
    precision: Precision = key("of frozen weights and arithmetic; auto chooses by the device and says why")
    accelerator: Accelerator = key("which kind of device")
    devices: int = key("how many devices of a machine share each batch", at_least=1)
    nodes: int = key("how many machines share each batch; torchrun or srun starts the processes there", at_least=1)
    max_micro_batch: int = key("ceiling of the images in one pass; the rest is accumulated", at_least=1)
    num_workers: int = key("threads that decode images for the cache", at_least=1)
    gradient_checkpointing: bool = key("recompute activations: less memory, about 35 % more time")
    compile: bool = key("torch.compile of the UNet")
    options: Any = key("of the components that are chosen here, by their names", default={})


@dataclass
class SamplesConfig:
    prompts: List[str] = key("what is drawn, as the captions were written; [] for no samples")
    seed: int = key("seed of the first sample; the next ones count up", at_least=0)
    every_steps: Optional[int] = key("draw each so many steps; null: at the end alone", at_least=1)
    inference_steps: int = key("denoising steps", at_least=1, at_most=1000)
    guidance_scale: float = key("classifier-free guidance; 1 for none", at_least=0)
    scheduler: str = key("sampler, as for `emote generate`", before="dpm++")
    lora_scale: float = key("strength of the adapter in the samples; 1 is as trained", above=0)


@dataclass
class ValidationConfig:
    every_steps: int = key("validate each so many steps, and at the end", at_least=1)
    timesteps: int = key("noise levels at which each held-out image is scored", at_least=1, at_most=1000)
    max_items: Optional[int] = key("score at most so many held-out images; null: all", at_least=1)
    metrics: List[str] = key(
        "what is logged of their losses beside the mean, as validation_<name>", kind=METRIC, before=[]
    )


@dataclass
class EvaluationConfig:
    prompts: int = key("at the end, images of so many concepts are judged beside the base model's; 0 for none",
                       at_least=0)  # fmt: skip
    from_steps: int = key("only of runs that go so far or further", at_least=1)
    inference_steps: int = key("denoising steps of these images", at_least=1, at_most=1000)


@dataclass
class CheckpointConfig:
    every_steps: int = key("save the state each so many steps", at_least=1)


@dataclass
class CallbacksConfig:
    samples: SamplesConfig = field(default_factory=SamplesConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    extra: Dict[str, Any] = key("Lightning callbacks of your own, each with a _target_", default={})


@dataclass
class LoggerConfig:
    to: List[Any] = key("where a run is logged beside metrics.csv, which is always written", kind=LOGGER)
    project: Optional[str] = key("W&B project; null: WANDB_PROJECT, else stable-emote")
    entity: Optional[str] = key("W&B team or user; null: WANDB_ENTITY, else your own")
    artifact: bool = key("log the adapter to W&B as an artifact at the end")
    group: Optional[str] = key("W&B group; null: WANDB_RUN_GROUP; a sweep sets its own")
    run_name: Optional[str] = key("what W&B calls the run; null: WANDB_NAME, else <name>-<identity>; "
                                  "a sweep says what differs")  # fmt: skip
    options: Any = key("of the loggers, by their names", default={})


@dataclass
class HubConfig:
    push: bool = key("push adapter, card and images to the Hugging Face Hub, in the background and at the end")
    repo: Optional[str] = key("repository to push to, owner/name; null: <you>/<name>-<identity>")
    private: bool = key("a repository that is new is made private")
    every_steps: Optional[int] = key("push each so many steps too; null: at the end alone", at_least=1)
    checkpoints: bool = key("push the checkpoint too: resume_from=hub://owner/name goes on with it anywhere")


@dataclass
class LauncherConfig:
    engine: Any = key("what runs the jobs of a sweep; local: this process, one after the other", kind=LAUNCHER)
    at_once: Optional[int] = key("jobs side by side at most; null: as many as there is room for", at_least=1)
    cpus: Optional[int] = key("CPU threads of each process of a job; null: what the engine gives it", at_least=1)
    gpus: int = key("GPUs of each job, on each of its machines; slurm and ray reserve them", at_least=0)
    memory_gb: Optional[int] = key("memory of each job, on each of its machines", at_least=1)
    hours: Optional[float] = key("time limit of each job; two minutes before, it saves and stops", above=0)
    partition: Optional[str] = key("Slurm's partition")
    account: Optional[str] = key("Slurm's account, which is charged")
    sbatch: List[str] = key("more options of sbatch, such as --qos=high")
    setup: List[str] = key("shell commands on the node before each job, such as module load cuda")
    address: Optional[str] = key("Ray's cluster, host:port or auto; null: one is started on this machine")
    options: Any = key("of the launcher, by its name", default={})


@dataclass
class RunConfig:
    dir: str = key("where runs are kept")
    cache_dir: str = key("where encoded images and captions are kept")
    fresh: bool = key("start again although the run exists (the old one is moved aside)")
    mixed: bool = key("go on although device, precision or micro-batch differ from those of the first steps")
    max_hours: Optional[float] = key(
        "refuse what the estimate says takes longer; null: 12 on a GPU, 6 on a CPU", above=0
    )


@dataclass
class Config:
    name: str = key("what the run is called: runs/<name>-<identity>")
    seed: int = key("of noise, timesteps, order, dropout and the adapter", at_least=0)
    model: ModelConfig = field(default_factory=ModelConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    data: DataConfig = field(default_factory=DataConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    callbacks: CallbacksConfig = field(default_factory=CallbacksConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    hub: HubConfig = field(default_factory=HubConfig)
    launcher: LauncherConfig = field(default_factory=LauncherConfig)
    run: RunConfig = field(default_factory=RunConfig)
    resume_from: Optional[str] = key(
        "go on with a run from elsewhere: hub://owner/name (pushed with hub.checkpoints=true) or its directory"
    )


# keys whose value is a path, or may be one
PATHS = ("run.dir", "run.cache_dir", "data.path", "model.path", "model.config", "lora.init_from", "resume_from")

GROUPS = ("model", "lora", "data", "trainer", "hardware", "callbacks", "logger", "launcher", "experiment", "twin")

# Keys that say how a run is done; all others are what is done, and make its identity (but for how far it goes).
RUNTIME_KEYS = frozenset({
    "name", "model.path", "model.revision", "model.variant", "model.resolution", "model.resolution_multiple",
    "model.config", "lora.init_from",  # their contents count
    "data.path", "data.config", "data.revision", "data.split", "data.image_column", "data.text_column",
    "data.captions", "data.trigger", "data.repeats", "data.frame", "data.resample",  # count where they do something
    "data.licence", "data.on_bad_item", "data.source", "trainer.max_steps", "trainer.stop",
    "trainer.stop_validations", "trainer.precision", "trainer.accelerator",
    "trainer.devices", "trainer.nodes", "trainer.max_micro_batch", "trainer.num_workers",
    "trainer.gradient_checkpointing", "trainer.compile",
    "callbacks", "logger", "hub", "launcher", "run", "resume_from",
})  # fmt: skip


@functools.cache
def config_schema(schema: type = Config) -> type:
    """Config, with a section `options.<name>` beside the keys that choose components, for each that has options."""
    changed: list[tuple[str, type, Any]] = []
    hints = get_type_hints(schema)
    for entry in fields(schema):
        kind = hints[entry.name]
        if is_dataclass(kind):
            kind = config_schema(kind)  # type: ignore[arg-type]
        elif entry.name == "options":
            chosen = [other.metadata["kind"] for other in fields(schema) if other.metadata.get("kind")]
            sections = [
                (name, options, field(default_factory=options)) for c in chosen for name, options in c.sections()
            ]
            kind = make_dataclass("Options", sections)
        if kind is not hints[entry.name]:
            changed.append((entry.name, kind, field(default_factory=kind)))
    return make_dataclass(schema.__name__, changed, bases=(schema,)) if changed else schema


def schema_keys(schema: type | None = None, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (dotted name, dataclass field, type) of every leaf key, in order."""
    schema = schema or config_schema()
    hints = get_type_hints(schema)
    for entry in fields(schema):
        name, kind = f"{prefix}{entry.name}", hints[entry.name]
        if is_dataclass(kind):
            yield from schema_keys(kind, f"{name}.")  # type: ignore[arg-type]
        else:
            yield name, entry, kind


def to_dataclass(composed: DictConfig) -> Config:
    """Return the composed configuration as plain dataclasses: no OmegaConf object goes further than this."""
    merged = OmegaConf.merge(OmegaConf.structured(config_schema()), composed)
    config = OmegaConf.to_object(merged)
    assert isinstance(config, Config)
    if config.trainer.schedule_steps == "max_steps":  # before the identity is taken
        config.trainer.schedule_steps = config.trainer.max_steps
    for name in PATHS:
        section, _, last = name.rpartition(".")
        if value := get(config, name):
            setattr(get(config, section) if section else config, last, expanded(value))
    return _with_trigger(config)


def expanded(path: str) -> str:
    """Return a path with the home directory for ~ and values for $VARIABLES; those that are not set stay."""
    return os.path.expandvars(os.path.expanduser(path))


def _with_trigger(config: Config) -> Config:
    """The trigger word stands in the caption's template and in the sample prompts: nothing else has to know it."""
    data, samples = config.data, config.callbacks.samples
    if data.trigger:
        if "{trigger}" in data.caption:
            data.caption = data.caption.replace("{trigger}", data.trigger)
        data.caption, *samples.prompts = [
            text if data.trigger.lower() in text.lower() else f"{data.trigger}, {text}".rstrip(", ")
            for text in (data.caption, *samples.prompts)
        ]
    return config


def get(config: Config, name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return value


def as_text(value: Any) -> str:
    return value.name if isinstance(value, Enum) else str(value)


def problems(config: Config) -> list[str]:
    """Yield everything that is wrong with the values, each as `key rule, got value; what to do`."""
    found = [line for name, entry, _ in schema_keys() for line in range_problems(name, entry, get(config, name))]
    if found:
        return found  # the rules below may rely on the ranges
    return [
        *_text_problems(config), *_data_problems(config), *_lora_problems(config), *_trainer_problems(config),
        *_hub_problems(config), *_launcher_problems(config),
    ]  # fmt: skip


def range_problems(name: str, entry: Any, value: Any) -> Iterator[str]:
    """Yield what is wrong with a value of the right type: it is out of range, or names nothing that can be chosen."""
    if kind := entry.metadata["kind"]:
        yield from filter(
            None, (kind.problem(name, choice) for choice in (value if isinstance(value, list) else [value]))
        )
        return
    if entry.metadata["word"] and type(value) is not int:
        if value != entry.metadata["word"]:
            yield f"{name} must be an integer or {entry.metadata['word']}, got {value}"
        return
    tests = {
        "at_least": (lambda v, limit: v >= limit, "at least"),
        "above": (lambda v, limit: v > limit, "above"),
        "at_most": (lambda v, limit: v <= limit, "at most"),
        "below": (lambda v, limit: v < limit, "below"),
    }
    for number in value if isinstance(value, list) else [value]:
        if not isinstance(number, (int, float)) or isinstance(number, bool):
            continue
        if not math.isfinite(number):
            yield f"{name} must be a finite number, got {number}"
            continue
        for rule, limit in entry.metadata.get("limits", {}).items():
            test, words = tests[rule]
            if not test(number, limit):
                yield f"{name} must be {words} {limit}, got {number}"


LONGEST_NAME = 100
NO_NAME = re.compile(r"[/\\:*?\"<>|\x00-\x1f]|^[.~\s-]|[.\s]$|\.old\d")


def _text_problems(config: Config) -> Iterator[str]:
    """What becomes a directory is one that every command finds again."""
    name = config.name
    if not name or len(name) > LONGEST_NAME or NO_NAME.search(name):
        yield (
            f"name must be a folder's name (letters, digits, - _ and spaces; no / and no dot at its start), got "
            f"{name[:LONGEST_NAME] or 'nothing'}; where runs are kept is run.dir"
        )
    for key_name in PATHS:
        value = get(config, key_name)
        if value is not None and not value.strip() and key_name not in ("data.path", "resume_from"):
            yield f"{key_name} must be a path, got nothing; is a variable of the shell empty?"
        elif value and (unset := re.search(r"\$(\w+|\{\w+\})", value)) and not os.path.exists(value):
            yield f"{key_name} has {unset[0]}, which is not set in the environment, got {value}"


def _data_problems(config: Config) -> Iterator[str]:
    data, multiple = config.data, config.model.resolution_multiple
    if data.resolution % multiple:
        lower = data.resolution // multiple * multiple
        advice = f"{lower} or {lower + multiple}" if lower else str(multiple)
        yield (
            f"data.resolution must be divisible by {multiple} (one latent covers {multiple}×{multiple} pixels), "
            f"got {data.resolution}; use {advice}"
        )
    source = SOURCE.load(data.source) if isinstance(data.source, str) else None
    if (what := getattr(source, "PATH", None)) and not data.path:
        yield f"data.path must name {what} when data={data.source}, got nothing; set data.path=…"
    known = set(getattr(source, "CAPTION_FIELDS", ("text",)))
    yield from _template_problems("data.caption", data.caption, known | {"trigger"}, set(), "image")
    yield from _caption_problems(data)
    if data.background_caption is not None:
        words = {"a_colour", "colour"}
        needed = words if data.background == RANDOM_BACKGROUND else set()  # one colour may be called as you like
        yield from _template_problems("data.background_caption", data.background_caption, words, needed, "colour")
    yield from _colour_problems(data.background)


def _caption_problems(data: DataConfig) -> Iterator[str]:
    if not data.caption.strip():
        yield "data.caption must not be empty; set data.caption='{text}', or one caption for all images"
    if "{trigger}" in data.caption:
        yield "data.caption has {trigger}, and data.trigger is null; set data.trigger=<a word>"
    if data.trigger is not None and (not data.trigger.strip() or set("{}") & set(data.trigger)):
        yield f"data.trigger must be a word or a few without braces, got {data.trigger!r}"
    yield from CAPTIONS.problems(data.captions, data)
    repeats = data.repeats
    if isinstance(repeats, dict):
        for folder, number in repeats.items():
            if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 < number <= 1000:
                yield f"data.repeats.{folder} must be a number above 0 and at most 1000, got {number}"
    elif not isinstance(repeats, str):
        yield f"data.repeats must be auto, none, a column, or {{folder: number}}, got {repeats}"


def _template_problems(name: str, template: str, known: set[str], one_of: set[str], what: str) -> Iterator[str]:
    try:
        used = {word for _, word, _, _ in Formatter().parse(template) if word is not None}
    except ValueError as error:
        yield f"{name} must be a template, got {template!r} ({error})"
        return
    for word in sorted(used - known):
        yield f"{name} may use {', '.join('{%s}' % k for k in sorted(known))}, got {{{word}}}"
    if one_of and not used & one_of:
        needed = " or ".join("{%s}" % word for word in sorted(one_of))
        yield f"{name} must contain {needed}, got {template!r}: every {what} would be called the same"


def _colour_problems(background: str) -> Iterator[str]:
    from PIL import ImageColor

    if background == RANDOM_BACKGROUND:
        return
    try:
        ImageColor.getrgb(background)
    except ValueError:
        hint = did_you_mean(nearest(background.lower(), [RANDOM_BACKGROUND, *ImageColor.colormap]))
        yield f"data.background must be random or a CSS colour such as white or #ffcc00, got {background!r}{hint}"


def _lora_problems(config: Config) -> Iterator[str]:
    targets, scale = config.lora.targets, config.lora.alpha / config.lora.rank
    yield from _nested_problems(config.lora)
    if scale > LARGEST_HALF:
        yield (
            f"lora.alpha must be at most {LARGEST_HALF} × lora.rank (the adapter's output is scaled by alpha / rank, "
            f"and half precision ends there), got {config.lora.alpha:g}; set lora.alpha={config.lora.rank} for a scale "
            "of 1"
        )
    known = sorted({name for names in TARGET_PRESETS.values() for name in names})
    if isinstance(targets, str):
        if targets not in TARGET_PRESETS:
            close = nearest(targets, [*TARGET_PRESETS, *known])
            hint = f"; did you mean {close if close in TARGET_PRESETS else f'[{close}]'}?" if close else ""
            yield f"lora.targets must be one of {', '.join(TARGET_PRESETS)} or a list of modules, got {targets}{hint}"
        return
    if not isinstance(targets, list) or not targets:
        yield f"lora.targets must be one of {', '.join(TARGET_PRESETS)} or a list of modules, got {targets}"
        return
    for target in targets:
        if target not in known:
            close = nearest(str(target), known)
            hint = f"did you mean {close}?" if close else f"modules are {', '.join(known)}"
            yield f"lora.targets names {target}, which no module of the UNet is called; {hint}"


NESTS = ("lora", "rslora")  # variants whose first components are an adapter: a DoRA's magnitudes are of all of it


def _nested_problems(lora: LoraConfig) -> Iterator[str]:
    nested = lora.nested
    if not nested:
        return
    told = f"[{','.join(map(str, nested))}]"
    if nested != sorted(set(nested)):
        yield f"lora.nested must be increasing, got {told}; set lora.nested=[{','.join(map(str, sorted(set(nested))))}]"
    elif nested[-1] != lora.rank:
        kept = ",".join(map(str, [*(rank for rank in nested if rank < lora.rank), lora.rank]))
        yield (
            f"lora.nested must end with lora.rank={lora.rank}, got {told}; set lora.rank={nested[-1]}, or "
            f"lora.nested=[{kept}]"
        )
    elif len(nested) == 1:
        yield f"lora.nested must name smaller ranks too, got {told}; set lora.nested=[] for lora.rank alone"
    if lora.variant not in NESTS:
        needed = " or ".join(NESTS)
        yield f"lora.nested needs lora.variant={needed}, got {lora.variant}; set lora.nested=[], or that variant"


def _trainer_problems(config: Config) -> Iterator[str]:
    trainer = config.trainer
    if trainer.batch_size % (processes := trainer.devices * trainer.nodes):
        by = f"trainer.devices={trainer.devices}" + f" × trainer.nodes={trainer.nodes}" * (trainer.nodes > 1)
        yield (
            f"trainer.batch_size must be divisible by {by}, got {trainer.batch_size}; "
            f"use {-(-trainer.batch_size // processes) * processes}"
        )
    for entry in fields(trainer):
        if kind := entry.metadata.get("kind"):
            yield from kind.problems(getattr(trainer, entry.name), trainer)
    if trainer.ema_decay is not None and trainer.optimizer == "schedule_free":
        yield f"trainer.ema_decay needs an optimizer that does not average, got {trainer.optimizer}; set one of them"
    if trainer.stop is not None and not config.data.held_out:
        yield f"trainer.stop={trainer.stop.value} needs images to ask: data.held_out must be above 0, got 0"
    if len(trainer.betas) != 2:
        yield f"trainer.betas must be two numbers, got {trainer.betas}"
    if trainer.schedule != "constant" and trainer.warmup_steps >= trainer.schedule_steps:
        yield (
            f"trainer.warmup_steps must be below trainer.schedule_steps={trainer.schedule_steps}, "
            f"got {trainer.warmup_steps}"
        )


def _launcher_problems(config: Config) -> Iterator[str]:
    launcher, engine = config.launcher, config.launcher.engine
    if not isinstance(engine, str):
        return
    names = [engine, *(name for name in LAUNCHER.names() if name != engine)]
    keys = {name: getattr(LAUNCHER.load(name), "KEYS", ()) for name in names}
    for entry in fields(launcher):
        name, value = entry.name, getattr(launcher, entry.name)
        if value and name not in (*keys[engine], "engine", "options"):
            readers = [f"launcher={other}" for other in keys if name in keys[other]]
            reads = f"{', '.join(readers)} {'reads' if len(readers) == 1 else 'read'} it"
            yield f"launcher.{name} has no effect on launcher={engine}, got {value}; {reads}"
    if config.trainer.nodes > 1 and getattr(LAUNCHER.load(engine), "ONE_MACHINE", False):
        yield f"launcher={engine} gives a job one machine; set trainer.nodes=1, or launcher=slurm"


HUB_SCHEME = "hub://"
_HUB_PART = r"[A-Za-z0-9](?:[\w.-]{0,94}[A-Za-z0-9])?"  # the Hub's own rule


def is_hub_name(name: str) -> bool:
    """Return whether a text can be `owner/name` on the Hub."""
    well_formed = re.fullmatch(f"{_HUB_PART}/{_HUB_PART}", name, re.ASCII) and not re.search(r"--|\.\.", name)
    return bool(well_formed) and not name.endswith(".git")


def _hub_problems(config: Config) -> Iterator[str]:
    hub, wanted = config.hub, config.resume_from
    rule = "owner/name (letters, digits, and . _ - between them)"
    if hub.repo is not None and not is_hub_name(hub.repo):
        yield f"hub.repo must be {rule}, got {hub.repo or 'nothing'}; null takes <you>/<name>-<identity>"
    if hub.checkpoints and not hub.push:
        yield "hub.checkpoints=true pushes nothing without hub.push=true; use both, or neither"
    if wanted is not None and not wanted.removeprefix(HUB_SCHEME):
        yield f"resume_from must be {HUB_SCHEME}owner/name or a run's directory, got {wanted or 'nothing'}"
    elif wanted is not None and wanted.startswith(HUB_SCHEME) and not is_hub_name(wanted.removeprefix(HUB_SCHEME)):
        yield f"resume_from must be {HUB_SCHEME} and then {rule}, got {wanted}"


def share_of_device(trainer: TrainerConfig) -> int:
    """Return images of one optimizer step that one device computes."""
    return trainer.batch_size // (trainer.devices * trainer.nodes)


def micro_batch(trainer: TrainerConfig) -> int:
    """The largest divisor of the share of one device that is within `max_micro_batch`: the effective batch stays."""
    share = share_of_device(trainer)
    return next(n for n in range(min(share, trainer.max_micro_batch), 0, -1) if share % n == 0)
