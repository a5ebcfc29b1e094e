"""The figures of the reported run, as data: the one place that tables compare with."""

from __future__ import annotations

from dataclasses import dataclass

EXPERIMENT = "reported"  # conf/experiment/reported.yaml, the recipe that goes with the figures
SOURCE = "github.com/SurAyush/StableEmote, November 2025"


@dataclass(frozen=True)
class Figure:
    """What was reported, low = high for a single number, and where: a file of SOURCE, or its W&B log."""

    low: float
    high: float
    source: str

    def difference(self, measured: float) -> float:
        """Measured minus reported; zero within a reported range, else to its nearer end."""
        return measured - min(max(measured, self.low), self.high)


def _number(value: float, source: str) -> Figure:
    return Figure(value, value, source)


STEPS = _number(4500, "README.md")
FIRST_LOSS = _number(0.06776419, "README.md")  # mean of the first 500 steps
LAST_LOSS = _number(0.06440321, "README.md")  # mean of the last 500 steps
SECONDS_PER_STEP = _number(3.08, "W&B, runtime of the first steps")
HOURS = Figure(6, 7, "README.md")

# what was reported in words
PRECISION = "bf16: frozen weights, arithmetic and adapter"
DEVICE = "Colab T4, 16 GB"
