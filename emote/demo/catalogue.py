"""What can be drawn with: the finished runs on this disk, the base model alone, and adapters from the Hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from emote.config import ModelConfig
from emote.inference.plan import BASE_ALONE
from emote.inference.prompt_template import AUTO, PLACE, choose_template
from emote.inference.resolve_adapter import BASE_LICENCES, Adapter, find_adapter, list_adapters
from emote.models.presets import find_base, model_named
from emote.util.errors import ConfigError

HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)+")  # and a file in it, if need be; no path on this disk
BASE_ONLY = "base model only"
TEMPLATE = "An emoji of {text}"  # what the miniature's training captions begin with
SUBJECTS = ("grinning face", "cat face", "fairy", "red heart", "robot", "automobile", "giraffe", "Santa Claus")
GUIDANCE = 4.0  # what the miniature's own samples are drawn with


@dataclass(frozen=True)
class Choice:
    """One line of the list: an adapter with its base model, or (adapter None) the base model alone.

    template: what the words that are typed go into, as in the training captions. subjects: examples of such words.
    """

    label: str
    model: ModelConfig
    adapter: Adapter | None
    side_px: int
    guidance_scale: float
    lora_scale: float
    template: str | None
    subjects: tuple[str, ...]
    licence: str


class Catalogue:
    """run, model: what to open with, as in `emote generate`: with neither the newest run; but where there is
    none the miniature alone will do. Raises ConfigError for names of nothing.
    """

    def __init__(self, runs_dir: Path, run: str | None = None, model: str | None = None) -> None:
        self.runs_dir = runs_dir
        self._alone = run == BASE_ALONE or (run is None and model is not None)
        self._model = model_named(model or "mini")
        base = model_named(model) if model else None
        self._named = None if run is None or self._alone else adapter_choice(find_adapter(run, runs_dir, base))
        self.refresh()

    def refresh(self) -> None:
        """Read the disk: runs come and go. The first choice is the one to open with."""
        adapters = [adapter for adapter in list_adapters(self.runs_dir) if not adapter.few_steps]  # no style by itself
        found = [adapter_choice(adapter) for adapter in adapters]
        if self._named:
            found.insert(0, self._named)
        self.has_adapters = bool(found)
        found.insert(0 if self._alone else len(found), self._base_only(found))
        self.choices = {choice.label: choice for choice in found}

    def _base_only(self, others: list[Choice]) -> Choice:
        if others and not self._alone:  # the base that is in memory already
            model, side_px = others[0].model, others[0].side_px
        else:
            model, side_px = self._model, find_base(self._model).side_px
        licence = BASE_LICENCES.get(model.path, "")
        return Choice(BASE_ONLY, model, None, side_px, GUIDANCE, 1.0, TEMPLATE, SUBJECTS, licence)

    @property
    def first(self) -> Choice:
        return next(iter(self.choices.values()))

    def from_hub(self, name: str) -> Choice:
        """Return an adapter on the Hub, downloaded. Raises ConfigError where there is no such, or it cannot be had."""
        name = name.strip().removeprefix("https://huggingface.co/").rstrip("/")
        if not HUB_NAME.fullmatch(name):
            raise ConfigError(f"a Hub name is owner/name, got {name[:100] or 'nothing'}")
        return adapter_choice(find_adapter(name, self.runs_dir))


def adapter_choice(adapter: Adapter) -> Choice:
    template = choose_template(AUTO, adapter.caption)
    subjects = tuple(without_template(prompt, template) for prompt in adapter.prompts) or SUBJECTS
    return Choice(
        label=adapter.label,
        model=adapter.base,
        adapter=adapter,
        side_px=adapter.resolution,
        guidance_scale=adapter.guidance_scale,
        lora_scale=adapter.lora_scale,
        template=template,
        subjects=subjects,
        licence=adapter.licence,
    )


def without_template(prompt: str, template: str | None) -> str:
    """Return what a template makes this prompt of; the prompt itself where it does not."""
    before, _, after = (template or PLACE).partition(PLACE)
    if prompt.startswith(before) and prompt.endswith(after) and len(prompt) > len(before) + len(after):
        return prompt[len(before) : len(prompt) - len(after)]
    return prompt
