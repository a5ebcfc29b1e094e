"""The samplers: what they are called here and in A1111, and the diffusers class behind each.

Other packages add theirs as entry points `emote.sampler`, each a `Sampler`.

All are made on the noise schedule that the model was trained with. Those that draw noise on the way draw it from each
image's own generator. Imports no torch, so that a mistake is found at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from emote.util.errors import ConfigError
from emote.util.hints import not_one_of
from emote.util.registry import offered, resolve_target

TRAILING = {"timestep_spacing": "trailing"}  # the first step is at the last timestep
KARRAS = {"use_karras_sigmas": True}  # the spacing of noise levels of arXiv 2206.00364, equation 5


@dataclass(frozen=True)
class Sampler:
    """kind: of diffusers, or `package.module.Class`.

    sampler, schedule: what A1111 writes as `Sampler` and `Schedule type` (None where it has but one).
    """

    kind: str
    source: str
    sampler: str
    schedule: str | None
    options: dict[str, Any] = field(default_factory=dict)


SDE = {"algorithm_type": "sde-dpmsolver++"}
SAMPLERS = {
    "dpm++": Sampler("DPMSolverMultistepScheduler", "arXiv 2211.01095", "DPM++ 2M", "Uniform"),
    "dpm++_karras": Sampler("DPMSolverMultistepScheduler", "arXiv 2211.01095", "DPM++ 2M", "Karras", KARRAS),
    "dpm++_sde_karras": Sampler(
        "DPMSolverMultistepScheduler", "arXiv 2211.01095", "DPM++ 2M SDE", "Karras", SDE | KARRAS
    ),
    "euler": Sampler("EulerDiscreteScheduler", "arXiv 2206.00364", "Euler", "Uniform"),
    "euler_a": Sampler("EulerAncestralDiscreteScheduler", "k-diffusion, sampling.py", "Euler a", "Uniform"),
    "heun": Sampler("HeunDiscreteScheduler", "arXiv 2206.00364", "Heun", "Uniform"),
    "ddim": Sampler("DDIMScheduler", "arXiv 2010.02502", "DDIM", None),
    "pndm": Sampler("PNDMScheduler", "arXiv 2202.09778", "PLMS", None, {"skip_prk_steps": True}),
    "unipc": Sampler("UniPCMultistepScheduler", "arXiv 2302.04867", "UniPC", None),
    # for adapters that draw in a few steps (see emote/diffusion/few_steps.py)
    "lcm": Sampler("LCMScheduler", "arXiv 2310.04378", "LCM", None),
    "tcd": Sampler("TCDScheduler", "arXiv 2402.19159", "TCD", None),
    "ddim_trailing": Sampler("DDIMScheduler", "arXiv 2305.08891", "DDIM", "SGM Uniform", TRAILING),
}


SAMPLERS |= {name: entry.load() for name, entry in offered("sampler").items()}


def scheduler_named(text: str, key: str = "scheduler") -> str:
    """Return the name in SAMPLERS that is meant by `text`: itself, in another spelling, or as A1111 writes it.

    key: whose value it is, for the message. Raises ConfigError, with the nearest name, for one that is not known.
    """
    spellings = {_plain(name): name for name in SAMPLERS}
    for name, entry in SAMPLERS.items():
        spellings.setdefault(_plain(entry.sampler), name)  # the first is the one without Karras
        spellings.setdefault(_plain(f"{entry.sampler} {entry.schedule}"), name)
    found = spellings.get(_plain(text))
    if found is None:
        raise ConfigError(not_one_of(key, text, SAMPLERS))
    return found


def from_a1111(sampler: str, schedule: str | None) -> str:
    """The name here of A1111's `Sampler` and `Schedule type`; its Automatic is Karras where there is a choice."""
    if schedule in (None, "Uniform", "Normal"):
        return scheduler_named(sampler)
    if schedule == "Automatic":
        candidates = [name for name, entry in SAMPLERS.items() if entry.sampler.lower() == sampler.lower()]
        karras = [name for name in candidates if SAMPLERS[name].schedule == "Karras"]
        return (karras or candidates or [scheduler_named(sampler)])[0]
    return scheduler_named(f"{sampler} {schedule}")


def make_scheduler(name: str, training_config: Any) -> Any:
    """The diffusers scheduler of that name. training_config: of the scheduler that the model was trained with."""
    import diffusers.schedulers

    entry = SAMPLERS[name]
    own = "." in entry.kind
    kind = resolve_target("scheduler", entry.kind) if own else getattr(diffusers.schedulers, entry.kind)
    return kind.from_config(training_config, **entry.options)


def _plain(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalnum() or character == "+")
