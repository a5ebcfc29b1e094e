"""Which jobs of a sweep train together (`sweep.pack=true`): those over one base model, on the same batches."""

from __future__ import annotations

from collections.abc import Sequence

from emote.config import Config, get, schema_keys
from emote.sweeping.plan import STEPS, Job, Plan

# What neither the base model nor the batches depend on
THEIR_OWN = frozenset({"lora.rank", "lora.alpha", "lora.seed", "trainer.learning_rate", STEPS})


def packs(jobs: Sequence[Job]) -> list[list[Job]]:
    """The jobs by who trains together, in their order; a job that trains with no other has a list of its own."""
    found: dict[tuple[str, ...], list[Job]] = {}
    for job in jobs:
        found.setdefault(_common(job.config) if job.config.sweep.pack else job.words, []).append(job)
    return list(found.values())


def _common(config: Config) -> tuple[str, ...]:
    return tuple(repr(get(config, name)) for name, _, _ in schema_keys() if name not in THEIR_OWN)


def told(plan: Plan) -> list[str]:
    """Which runs train together, a line for each pack; nothing where that was not asked for."""
    if not any(job.config.sweep.pack for job in plan.jobs):
        return []
    waiting = [pack for wave in plan.waves() for pack in packs(wave)]
    return list(dict.fromkeys(_told(pack) for pack in waiting))


def _told(pack: Sequence[Job]) -> str:
    return f"  {'together' if len(pack) > 1 else 'alone'}: {'; '.join(job.run_label for job in pack)}"
