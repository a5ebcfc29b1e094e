"""The loss curve as an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from emote.util.charts import BLUE, GREY, RED, new_figure, save_png


def plot_losses(
    path: Path,
    steps: Sequence[int],
    train_loss: Sequence[float],
    validation: Sequence[tuple[int, float]],
    base_validation: float | None,
    title: str,
) -> None:
    """Training loss (each step pale, running mean bold) and held-out loss, with the base model's as a line."""
    figure = new_figure(8, 4.2)
    left, right = figure.subplots(1, 2)
    losses = np.asarray(train_loss, dtype=float)
    left.plot(steps, losses, color="#c9d5e8", linewidth=0.7, label="each step")
    window = max(1, min(100, len(losses) // 5))
    if window > 1:
        smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
        left.plot(steps[window - 1 :], smooth, color=BLUE, linewidth=1.8, label=f"mean of {window} steps")
    left.set_title("training loss", fontsize=10)
    finite = losses[np.isfinite(losses)]
    if len(finite) > 10:
        left.set_ylim(0, float(np.quantile(finite, 0.995)) * 1.1)
    left.legend(fontsize=8, frameon=False)
    if validation:
        right.plot(*zip(*validation, strict=True), marker="o", markersize=4, color=RED, label="fine-tuned")
    if base_validation is not None:
        right.axhline(base_validation, color=GREY, linestyle="--", linewidth=1.2, label="base model")
    right.set_title("held-out loss (same noise each time)", fontsize=10)
    if validation or base_validation is not None:
        right.legend(fontsize=8, frameon=False)
    else:
        right.text(0.5, 0.5, "no held-out items", ha="center", va="center", transform=right.transAxes)
    for axes in (left, right):
        axes.set_xlabel("step")
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=11)
    save_png(figure, path)
