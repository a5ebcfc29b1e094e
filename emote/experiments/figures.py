"""The table *reported / measured / difference* of one run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

from emote.config import Config
from emote.experiments import reported
from emote.experiments.reported import Figure
from emote.runs.metrics_file import Row as Metrics
from emote.training.summary import MEAN_OF_STEPS


@dataclass(frozen=True)
class Line:
    """One line of the table: numbers for scripts, texts for people.

    spread: 1.96 standard errors of a mean. difference: see Figure.difference; None where nothing was reported.
    """

    what: str
    reported: tuple[float, float] | None
    measured: float | str | None
    spread: float | None
    difference: float | None
    source: str | None
    texts: tuple[str, str, str]

    def as_dict(self) -> dict[str, Any]:
        told = asdict(self)
        del told["texts"]
        return told


def figures(config: Config, summary: dict[str, Any], metrics: Sequence[Metrics]) -> list[Line]:
    """What a finished run measured beside what was reported.

    summary: its summary.json. metrics: the rows of its metrics.csv, which count all processes that computed it.
    """
    losses = [row["loss"] for row in metrics if "loss" in row]
    first, last = losses[:MEAN_OF_STEPS], losses[-MEAN_OF_STEPS:]
    hours = sum(row.get("seconds", 0.0) for row in metrics) / 3600
    memory = summary["peak_memory_bytes"]["device"] or summary["peak_memory_bytes"]["host"]
    kind = "GPU" if summary["peak_memory_bytes"]["device"] else "host"
    precision = summary["precision"]
    used = f"{precision['frozen']}, adapter {precision['adapter']} ({precision['reason']})"
    return [
        _number("optimizer steps", reported.STEPS, summary["max_steps"], "{:,.0f}".format),
        _mean(f"training loss, mean of the first {len(first):,} steps", reported.FIRST_LOSS, first),
        _mean(f"training loss, mean of the last {len(last):,} steps", reported.LAST_LOSS, last),
        _number("seconds a step (median)", reported.SECONDS_PER_STEP, summary["seconds_per_step"], "{:.3g}".format),
        _number("hours of steps, with what happens between them", reported.HOURS, hours, "{:.3g}".format),
        _text(f"peak memory ({kind})", "not reported", memory, f"{memory / 1e9:.2f} GB"),
        _text("precision asked for", reported.PRECISION, asked := _asked(config), asked),
        _text("precision used, and why", "as asked, emulated on that GPU", used, used),
        _text("device", reported.DEVICE, summary["device"], summary["device"]),
    ]


def _asked(config: Config) -> str:
    return f"{config.trainer.precision.name}: frozen weights and arithmetic; adapter {config.lora.dtype.name}"


def _number(what: str, figure: Figure, measured: float, show: Callable[[float], str]) -> Line:
    difference = figure.difference(measured)
    told = show(figure.low) if figure.low == figure.high else f"{show(figure.low)} to {show(figure.high)}"
    sign = "" if difference == 0 else "+" if difference > 0 else "−"
    texts = (told, show(measured), f"{sign}{show(abs(difference))}")
    return Line(what, (figure.low, figure.high), measured, None, difference, figure.source, texts)


def _mean(what: str, figure: Figure, values: Sequence[float]) -> Line:
    measured = fmean(values) if values else math.nan
    spread = 1.96 * stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    difference = figure.difference(measured)
    shown = f"{measured:.5f}" + (f" ± {spread:.5f}" if spread is not None else "")
    texts = (f"{figure.low:.8f}", shown, f"{difference:+.5f}".replace("-", "−"))
    return Line(what, (figure.low, figure.high), measured, spread, difference, figure.source, texts)


def _text(what: str, told: str, measured: float | str, shown: str) -> Line:
    return Line(what, None, measured, None, None, None, (told, shown, "–"))
