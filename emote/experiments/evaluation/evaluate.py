"""Draw the same prompts and noise with the base model and each adapter, and say what one would see."""

from __future__ import annotations

from pathlib import Path

from emote.experiments.evaluation.options import EvaluateOptions
from emote.util.errors import ConfigError


def evaluate(options: EvaluateOptions) -> Path:
    """Draw, measure and report; returns the page. Raises ConfigError for mistakes, before anything is drawn."""
    from emote.experiments.evaluation.plan import plan_evaluation  # late: these import torch
    from emote.experiments.evaluation.report import write_evaluation
    from emote.experiments.evaluation.run import run_evaluation
    from emote.util.console import echo
    from emote.util.quiet import quiet_libraries

    if options.runs and options.run is not None:
        raise ConfigError(f"run={options.run} says nothing beside runs=; leave one out")
    quiet_libraries()
    plan = plan_evaluation(options)
    result = run_evaluation(plan)
    page = write_evaluation(result)
    echo(str(page))
    return page


def main(options: EvaluateOptions) -> int:
    """For the command line: 0 where all went well."""
    evaluate(options)
    return 0
