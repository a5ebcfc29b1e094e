"""One judge for several adapters: the same held-out images, noise and float32 arithmetic for each.

A run scores its adapter by its own arithmetic. A base model in bf16 has another loss than the same in float32, so such
scores of two runs differ by more than what was learned; here the adapters are put on one base and scored alike.
"""

from __future__ import annotations

import copy
import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from emote.config import AdapterDtype, Config, Precision, as_text, get
from emote.data.prepared import scan
from emote.evaluation.held_out import HeldOut
from emote.experiments.comparable import COMPARED, check_comparable
from emote.lora.adapter import NAME, load_adapter_state, without_adapter
from emote.lora.formats import DIFFUSERS_FILE
from emote.lora.warm_start import adapts_text
from emote.models import components
from emote.models.precision import decide
from emote.runs.run_folder import RunFolder
from emote.training.callbacks.progress import progress_bar
from emote.training.data_report import usable
from emote.training.job import build_job, encode_data
from emote.training.module import LoraModule
from emote.util.errors import ConfigError
from emote.util.files import write_json

FORMAT = 1  # raise it when the same adapter would be scored differently


class Judge:
    """Scores adapters in float32, on the held-out images of the configuration that it is made with."""

    def __init__(self, config: Config) -> None:
        """Raises ConfigError where nothing is held out, and where the base model or the images cannot be read."""
        _check_text(config)
        self.config = in_float32(config)
        self.decision = decide(self.config.trainer.precision, self.config.trainer.accelerator)
        self.model = components.locate(self.config.model)
        weights = {part: self._fingerprint(part) for part in ("unet", "vae", "text_encoder")}
        found = usable(self.config, scan(self.config.data))
        self._prepared = encode_data(self.config, self.model, weights, found, self.decision)
        self._held_out = HeldOut(
            self._prepared,
            config.callbacks.validation.timesteps,
            None,
            components.load_scheduler(self.model).config.num_train_timesteps,
        )
        if not self._held_out.examples:
            raise ConfigError(f"data.held_out must be above 0 to compare runs, got {config.data.held_out}")
        self._facts: dict[str, Any] = {
            "format": FORMAT,
            "weights": weights,
            "images": found.identity,
            "keys": {name: as_text(get(self.config, name)) for name in COMPARED},
            "device": self.decision.device.type,
        }

    @property
    def concepts(self) -> list[str]:
        """One for each held-out image."""
        return [example.concept for example in self._held_out.examples]

    @cached_property
    def base(self) -> list[float]:
        """The base model's loss of each held-out image."""
        module = self._module(self.config)
        with without_adapter(module.unet):
            return self._score(module, "the base model")

    def score(self, config: Config, delivered: Path) -> list[float]:
        """Loss of each held-out image, in the order of `concepts`, with the adapter of a run's deliverables.

        Remembered beside the adapter. Raises ConfigError where the run is about other images or another base model.
        """
        check_comparable(self.config, config)
        _check_text(config)
        file = delivered / DIFFUSERS_FILE
        facts = {**self._facts, "adapter": hashlib.sha256(file.read_bytes()).hexdigest()}
        key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        remembered = delivered / "held_out_float32.json"
        if remembered.exists():
            told = json.loads(remembered.read_text(encoding="utf-8"))
            if told["key"] == key:
                return told["losses"]
        module = self._module(in_float32(config))
        tensors = load_file(file)
        ends = [(".weight", f".{NAME}.weight"), (".lora_magnitude_vector", f".lora_magnitude_vector.{NAME}.weight")]
        own = {
            name.removeprefix("unet.").removesuffix(end) + ending: tensor
            for name, tensor in tensors.items()
            for end, ending in ends
            if name.endswith(end)
        }
        load_adapter_state(module.unet, own)
        losses = self._score(module, f"{config.name}, {delivered.name}")
        write_json(remembered, {"key": key, "losses": losses})
        return losses

    def _fingerprint(self, part: str) -> str:
        model, cache_dir = self.config.model, Path(self.config.run.cache_dir)
        return components.fingerprint(self.model, part, variant=model.variant, cache_dir=cache_dir)

    def _module(self, config: Config) -> LoraModule:
        if self._fingerprint("unet") != self._facts["weights"]["unet"]:
            raise ConfigError(f"{self.model} was replaced while adapters were compared on it; say the same again")
        folder = RunFolder(Path(config.run.dir))  # nothing is written there
        weights = self._facts["weights"]
        return build_job(config, "judge-0", folder, self.model, weights, self.decision, self._prepared).module

    def _score(self, module: LoraModule, what: str) -> list[float]:
        with progress_bar() as bar:
            task = bar.add_task(f"scoring {what}", total=len(self.concepts), note="held-out images, in float32")
            return self._held_out.score(module, lambda done: bar.update(task, completed=done))


def _check_text(config: Config) -> None:
    """Raises ConfigError for runs whose adapter changes the text encoder too: others' captions are not theirs."""
    if adapts_text(config.lora):
        raise ConfigError(
            f"{config.name} began from an adapter of the text encoder (lora.init_from), so its captions mean something "
            "else than other runs' and their losses cannot be compared; compare images, by emote evaluate"
        )


def in_float32(config: Config) -> Config:
    """A copy whose arithmetic and adapter are float32."""
    changed = copy.deepcopy(config)
    changed.trainer.precision, changed.lora.dtype = Precision.float32, AdapterDtype.float32
    return changed
