"""The table of nested ranks against ranks trained one by one, as Markdown, JSON and an image."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from emote.config import Config
from emote.evaluation.choosing import Candidate, choose
from emote.evaluation.images.jackknife import Estimate
from emote.evaluation.several import difference
from emote.experiments.comparison.nested import ALONE, WAYS, NestedOptions
from emote.experiments.comparison.rows import mean, seconds_of
from emote.util.charts import COLOURS, GREY, new_figure, save_png
from emote.util.markdown import interval, signed, table, write_report
from emote.util.units import readable_seconds

ByRank = Mapping[int, Sequence[Sequence[float]]]  # of each rank [seeds, images]


@dataclass(frozen=True)
class NestedReport:
    """losses: of each way to train, by rank.  runs: of each way, the deliverables of every run.  base, concepts: one
    for each held-out image."""

    options: NestedOptions
    words: Sequence[str]
    config: Config
    base: Sequence[float]
    concepts: Sequence[str]
    losses: Mapping[str, ByRank]
    runs: Mapping[str, Sequence[Path]]

    def write(self, directory: Path) -> Path:
        """Write nested.md, nested.json and nested.png, print the first and return its path."""
        text = "\n".join(self._markdown())
        return write_report(directory, "nested", text, self.as_dict(), {"nested.png": self._draw})

    @property
    def command(self) -> str:
        lists = {"ranks": self.options.ranks, "seeds": self.options.seeds}
        own = [f"{name}=[{','.join(map(str, values))}]" for name, values in lists.items()]
        return shlex.join(["emote", "compare", "nested", *self.words, *own])

    @cached_property
    def differences(self) -> dict[str, dict[int, Estimate]]:
        """Of each nested way and rank: its loss − that of the rank trained alone."""
        alone = self.losses[ALONE]
        return {
            way: {rank: difference(alone[rank], self.losses[way][rank], self.concepts) for rank in self.options.ranks}
            for way in WAYS
        }

    def to_base(self, way: str, rank: int) -> Estimate:
        losses = self.losses[way][rank]
        return difference([self.base] * len(losses), losses, self.concepts)

    def chosen(self, way: str) -> tuple[int, int]:
        """Return the rank with the lowest loss, and the smallest within one standard error of it."""
        ranks, seeds = self.options.ranks, self.options.seeds
        by_rank = [dict(zip(seeds, self.losses[way][rank], strict=True)) for rank in ranks]
        found = choose(
            [Candidate(by_seed, (float(rank),)) for by_seed, rank in zip(by_rank, ranks, strict=True)], self.concepts
        )
        return ranks[found.best], ranks[found.smallest]

    def cost(self, way: str) -> tuple[int, float]:
        """Return optimizer steps and their seconds, for each seed."""
        runs, seeds = self.runs[way], len(self.options.seeds)
        return len(runs) * self.config.trainer.max_steps // seeds, sum(map(seconds_of, runs)) / seeds

    def as_dict(self) -> dict[str, Any]:
        return {
            "command": self.command,
            "model": self.config.model.path,
            "max_steps": self.config.trainer.max_steps,
            "seeds": self.options.seeds,
            "images": len(self.base),
            "concepts": len(set(self.concepts)),
            "base_loss": fmean(self.base),
            "losses": {way: {str(rank): mean(of) for rank, of in ranks.items()} for way, ranks in self.losses.items()},
            "differences": {
                way: {str(rank): found.as_dict() for rank, found in ranks.items()}
                for way, ranks in self.differences.items()
            },
            "chosen": {way: self.chosen(way) for way in self.losses},
            "cost": {way: self.cost(way) for way in self.losses},
            "runs": {way: [str(path) for path in paths] for way, paths in self.runs.items()},
        }

    def _markdown(self) -> Iterator[str]:
        trainer, seeds, ranks = self.config.trainer, self.options.seeds, self.options.ranks
        yield f"# Nested ranks: {self.config.model.path}, {trainer.max_steps:,} steps of {trainer.batch_size}\n"
        yield f"`{self.command}`\n"
        head = ["rank", ALONE]
        for way in WAYS:
            head += [f"nested, {way}", "difference", "95 %", "shown"]
        rows = []
        for rank in ranks:
            row = [str(rank), f"{mean(self.losses[ALONE][rank]):.5f}"]
            for way in WAYS:
                found = self.differences[way][rank]
                row += [f"{mean(self.losses[way][rank]):.5f}", signed(found.value), interval(found.interval_95)]
                row.append(_verdict(found))
            rows.append(row)
        yield from table(head, rows)
        count = f"{len(seeds)} seed{'s' * (len(seeds) > 1)}"
        about = (
            f"{count} and {len(self.base)} images of {len(set(self.concepts))} concepts, the same noise for each, "
            "every adapter on one base in float32. Differences are to the rank trained alone, paired by seed and "
            "image; intervals are about other concepts and other seeds."
        )
        yield f"\nHeld-out loss, lower is better; the base model has {fmean(self.base):.5f}. Mean over {about}\n"
        yield "## Which rank, and for what?\n"
        rows = []
        for way in self.losses:
            best, smallest = self.chosen(way)
            steps, seconds = self.cost(way)
            alone = mean(self.losses[ALONE][smallest])
            name = way if way == ALONE else f"nested, {way}"
            count = str(len(self.runs[way]) // len(seeds))
            rows.append(
                [name, count, f"{steps:,}", readable_seconds(seconds), str(best), str(smallest), f"{alone:.5f}"]
            )
        head = ["trained", "runs a seed", "steps", "time of steps", "lowest loss at rank"]
        yield from table([*head, "smallest within one standard error", "which alone has"], rows)
        yield "\n![differences of the held-out loss by rank](nested.png)\n"

    def _draw(self, path: Path) -> None:
        figure = new_figure(9, 3.8)
        left, right = figure.subplots(1, 2)
        ranks = self.options.ranks
        places = range(len(ranks))
        for number, way in enumerate((ALONE, *WAYS)):
            shift = 0.12 * (number - 1)
            name = way if way == ALONE else f"nested, {way}"
            _bars(left, places, shift, [self.to_base(way, rank) for rank in ranks], COLOURS[number], name)
            if way != ALONE:
                found = [self.differences[way][rank] for rank in ranks]
                _bars(right, places, shift, found, COLOURS[number], name)
        right.axhline(0, color=GREY, linestyle="--", linewidth=1)
        left.set_title("difference to the base model", fontsize=10)
        right.set_title("difference to the rank trained alone", fontsize=10)
        for axes in (left, right):
            axes.set_xticks(list(places), [str(rank) for rank in ranks])
            axes.set_xlabel("rank")
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(fontsize=8, frameon=False)
        left.set_ylabel("held-out loss")
        figure.suptitle("lower is better; bars are 95 % intervals about other concepts and other seeds", fontsize=9)
        save_png(figure, path)


def _bars(axes: Any, places: Sequence[int], shift: float, found: Sequence[Estimate], colour: str, name: str) -> None:
    values = [each.value for each in found]
    halves = [each.half_width if each.interval_95 else 0.0 for each in found]
    axes.errorbar([place + shift for place in places], values, halves, color=colour, marker="o", markersize=4,
                  linewidth=1, capsize=2, label=name)  # fmt: skip


def _verdict(found: Estimate) -> str:
    if found.interval_95 is None:
        return "–"
    return ("lower" if found.value < 0 else "higher") if found.differs_from_zero else "nothing"
