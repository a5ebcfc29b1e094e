"""What one image is drawn from."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from emote.diffusion.few_steps import FEW, MOST_OF_FEW
from emote.diffusion.samplers import scheduler_named
from emote.util.errors import ConfigError

LARGEST_SEED = 2**63 - 1  # what torch's generators take and other programs read back
LARGEST_SIDE_PX = 4096
MOST_STEPS = 1000
LORA_TAG, NEGATIVE = "<lora:", "Negative prompt:"  # what they mean in a PNG's text


@dataclass(frozen=True, kw_only=True)
class Request:
    """The final words and the settings; equal requests give equal images.

    guidance_scale: of classifier-free guidance (arXiv 2207.12598); 1 and less for none, and then negative_prompt
    plays no part. lora_scale: multiplies the adapter's output; 0 is the base model. width, height: in pixels.
    eta: how much of the noise is drawn anew at each step, by samplers that ask; None for each sampler's own.
    Raises ConfigError with everything that is wrong.
    """

    prompt: str
    seed: int
    width: int
    height: int
    negative_prompt: str = ""
    inference_steps: int = 25
    guidance_scale: float = 7.5
    scheduler: str = "dpm++"
    lora_scale: float = 1.0
    eta: float | None = None

    def __post_init__(self) -> None:
        # line breaks and runs of blanks are nothing to the tokenizer, and would be something to a PNG's text
        object.__setattr__(self, "prompt", " ".join(self.prompt.split()))
        object.__setattr__(self, "negative_prompt", " ".join(self.negative_prompt.split()))
        wrong = self._problems()
        try:
            object.__setattr__(self, "scheduler", scheduler_named(self.scheduler))
        except ConfigError as error:
            wrong.append(str(error))
        if wrong:
            raise ConfigError("\n".join(wrong))

    def _problems(self) -> list[str]:
        wrong = []
        if not self.prompt:
            wrong.append("prompt must say what to draw, got nothing; set prompt='a fairy'")
        for name in ("prompt", "negative_prompt"):
            if LORA_TAG in getattr(self, name):
                wrong.append(f"{name} must not name adapters ({LORA_TAG}…>); set run= and lora_scale= instead")
            if getattr(self, name).startswith(NEGATIVE):
                wrong.append(f"{name} must not begin with {NEGATIVE!r}; set negative_prompt= instead")
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, float) and not math.isfinite(value):
                wrong.append(f"{entry.name} must be a finite number, got {value}")
        ranges = {
            "seed": (0, LARGEST_SEED),
            "inference_steps": (1, MOST_STEPS),
            "width": (1, LARGEST_SIDE_PX),
            "height": (1, LARGEST_SIDE_PX),
        }
        for name, (lowest, highest) in ranges.items():
            if not lowest <= getattr(self, name) <= highest:
                wrong.append(f"{name} must be from {lowest} to {highest}, got {getattr(self, name)}")
        if self.guidance_scale < 0:
            wrong.append(f"guidance_scale must be at least 0, got {self.guidance_scale}")
        if self.eta is not None and not 0 <= self.eta <= 1:
            wrong.append(f"eta must be from 0 to 1, got {self.eta}")
        if self.scheduler.lower() in FEW and self.inference_steps > MOST_OF_FEW:
            wrong.append(
                f"inference_steps must be at most {MOST_OF_FEW} with scheduler={self.scheduler.lower()}, which is for "
                f"adapters that draw in a few, got {self.inference_steps}"
            )
        return wrong
