"""The few settings of the Train tab, and the command line that they stand for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from emote.util.errors import ConfigError

BASES = {
    "The miniature: 128 px, minutes on a CPU": "quickstart",
    "Stable Diffusion 1.5: 512 px, needs a GPU and a download": "best",
}
MEANINGS = {
    "name": "What the run is called, here and in the terminal.",
    "trigger": "A word of your own that will mean this style, such as myblob. May stay empty.",
    "base": "What is fine-tuned.",
    "steps": "How long it learns. 200 is a start; more keeps closer to your images, and forgets more.",
    "prompts": "Drawn on the way, so that you see it learn: one in each line.",
}
FEWEST_STEPS, MOST_STEPS, MOST_PROMPTS, LONGEST_PROMPT = 1, 20_000, 8, 200
SAMPLES = 4  # times that a run draws its prompts
NAME = re.compile(r"[A-Za-z0-9](?:[\w-]{0,38}[A-Za-z0-9])?", re.ASCII)
TRIGGER = re.compile(r"[\w-]{1,40}")
PLAIN = re.compile(r"[A-Za-z_./][\w./-]*(?: [\w./-]+)*", re.ASCII)
VALUES = ("null", "true", "false", "nan", "inf")  # would not stay texts


@dataclass(frozen=True)
class Settings:
    """As typed; `words` checks them. prompts: lines."""

    name: str
    trigger: str
    base: str
    steps: int
    prompts: str


def data_words(path: Path, trigger: str) -> list[str]:
    """Return the words for a set that was uploaded. Raises ConfigError for a trigger that is more than one word."""
    trigger = trigger.strip()
    if trigger and not TRIGGER.fullmatch(trigger):
        raise ConfigError(f"the trigger must be one word of letters and digits, at most 40, got {trigger[:60]}")
    return ["data=folder", f"data.path={quoted(str(path))}", *([f"data.trigger={quoted(trigger)}"] if trigger else [])]


def train_words(settings: Settings, path: Path, runs_dir: Path, more: list[str]) -> list[str]:
    """Return what `emote train` is called with. Raises ConfigError that says which setting, and what is right.

    more: words of the person who started the demo, which come last.
    """
    name = settings.name.strip()
    if not NAME.fullmatch(name):
        raise ConfigError(f"a name has 1 to 40 letters, digits, - or _, no others, got {name[:60] or 'nothing'}")
    if settings.base not in BASES:
        raise ConfigError(f"the base must be one of {len(BASES)} in the list")
    if not FEWEST_STEPS <= settings.steps <= MOST_STEPS:
        raise ConfigError(f"steps must be {FEWEST_STEPS} to {MOST_STEPS:,}, got {settings.steps}")
    prompts = [" ".join(line.split()) for line in settings.prompts.splitlines() if line.strip()]
    if not 1 <= len(prompts) <= MOST_PROMPTS or max(map(len, prompts)) > LONGEST_PROMPT:
        raise ConfigError(f"write 1 to {MOST_PROMPTS} prompts, one a line, each of at most {LONGEST_PROMPT} letters")
    if any("${" in prompt for prompt in prompts):  # the configuration would put values of this machine in their place
        raise ConfigError("prompts cannot hold ${; write them without")
    every = max(1, settings.steps // SAMPLES)
    return [
        f"experiment={BASES[settings.base]}",
        *data_words(path, settings.trigger),
        f"name={quoted(name)}",
        f"trainer.max_steps={settings.steps}",
        f"callbacks.samples.prompts=[{','.join(map(quoted, prompts))}]",
        *(f"callbacks.{what}.every_steps={every}" for what in ("samples", "checkpoint", "validation")),
        *([f"run.dir={quoted(str(runs_dir))}"] if str(runs_dir) != "runs" else []),
        *more,
    ]


def quoted(text: str) -> str:
    """Return a value as the grammar of the command line takes it, whatever signs it has."""
    if PLAIN.fullmatch(text) and text.lower() not in VALUES:
        return text
    return '"' + re.sub(r'(\\*)"', lambda match: match[1] * 2 + '\\"', text) + '"'
