"""Settings that are legal alone and void, or not what was meant, together."""

from __future__ import annotations

from collections.abc import Iterator

from emote.config import Config
from emote.diffusion.few_steps import OBJECTIVES, few_steps_of
from emote.training.module import learning_rate_factor

HARDLY = 0.9  # of the peak: a schedule that ends above this did nothing worth its name


def void_together(config: Config) -> Iterator[str]:
    """Yield a sentence for each: which keys, what follows, and what to set."""
    trainer, samples = config.trainer, config.callbacks.samples
    last = learning_rate_factor(trainer, trainer.max_steps - 1)
    if trainer.warmup_steps >= trainer.max_steps:
        yield (
            f"trainer.warmup_steps={trainer.warmup_steps} is not over at trainer.max_steps={trainer.max_steps}: the "
            f"learning rate never gets beyond {last:.2%} of its peak; set fewer warm-up steps, or more steps"
        )
    elif trainer.schedule != "constant" and last > HARDLY:
        yield (
            f"trainer.schedule={trainer.schedule} ends at trainer.schedule_steps={trainer.schedule_steps}, and this "
            f"run at {trainer.max_steps}: its learning rate ends at {last:.3%} of the peak; set "
            "trainer.schedule_steps=max_steps to have it end there"
        )
    if trainer.caption_dropout == 1:
        yield "trainer.caption_dropout=1 drops every caption: the adapter learns nothing of what is written"
    few = few_steps_of(config.lora.init_from) if config.lora.init_from else None
    if few and trainer.objective not in OBJECTIVES:
        yield (
            f"lora.init_from={config.lora.init_from} draws in a few steps ({few.family}), which "
            f"trainer.objective={trainer.objective} unlearns; train the style from nothing and draw with both, as "
            "run=[style:1, speed:1]"
        )
    if samples.every_steps is not None and not samples.prompts:
        yield "callbacks.samples.every_steps has no effect: callbacks.samples.prompts is empty"
    if config.logger.artifact and "wandb" not in config.logger.to:
        yield "logger.artifact=true has no effect: logger.to does not name wandb"
    if config.hub.every_steps is not None and not config.hub.push:
        yield "hub.every_steps has no effect without hub.push=true"
