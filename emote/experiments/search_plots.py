"""Optuna's own plots of a search, in the colours of the reader's light or dark page."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

from emote.sweeps.reports.document import Block, Drawing, Text
from emote.util.charts import as_svg

FEW = 4  # finished trials; with fewer, nothing is said about what mattered
A_ROW = 3  # keys in one slice plot
LEGEND = 10  # trials that a legend tells apart
LOSS = "held-out loss"


def plots(study: Any) -> Iterator[Block]:
    """How the search went, which keys mattered, the loss by each key, and on the way; or why one of them is missing.

    study: of Optuna, single objective, lower is better.
    """
    import optuna

    finished = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    looked = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED))
    keys = list(dict.fromkeys(name for trial in finished for name in trial.params))
    if len(finished) < 2:
        yield Text(f"Plots need two finished trials, there {'is 1' if finished else 'are none'}.")
        return
    yield Drawing("search-history.svg", _drawn(lambda plot: _history(plot, study)), "the lowest loss so far, by trial")
    if len(finished) < FEW:
        yield Text(f"What mattered can be told from {FEW} finished trials on, there are {len(finished)}.")
    elif len(keys) < 2:
        yield Text("Which key mattered most is no question where one key is searched.")
    else:
        yield Drawing("search-importances.svg", _drawn(lambda plot: _importances(plot, study)), "which keys mattered")
    for number, first in enumerate(range(0, len(keys), A_ROW)):
        some = keys[first : first + A_ROW]
        svg = _drawn(lambda plot, some=some: _slices(plot, study, some))  # type: ignore[misc]
        yield Drawing(f"search-slices-{number}.svg", svg, f"{LOSS} by {', '.join(some)}")
    if max(len(trial.intermediate_values) for trial in looked) < 2:
        yield Text("Each trial was looked at once, at its end, so there is nothing to show on the way.")
    else:
        svg = _drawn(lambda plot: _on_the_way(plot, study, len(looked)))
        yield Drawing("search-on-the-way.svg", svg, f"{LOSS} of each trial on the way")


def _history(plot: Any, study: Any) -> Any:
    axes = plot.plot_optimization_history(study, target_name="a trial that ran to its end")
    axes.set(title="How the search went", ylabel=LOSS, xlabel="trial")
    axes.get_legend_handles_labels()[0][1].set_label("lowest so far")
    axes.legend(loc="best")
    _whole_numbers(axes.xaxis, first=1)
    return axes.figure


def _importances(plot: Any, study: Any) -> Any:
    from optuna.importance import PedAnovaImportanceEvaluator

    axes = plot.plot_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    axes.set_title("", loc="left")
    axes.set(title="Which keys parted the good trials from the others", xlabel="share (PED-ANOVA)", ylabel="")
    axes.set_xlim(right=axes.get_xlim()[1] * 1.08)
    axes.grid(False, axis="y")
    for share in axes.texts:
        share.set_text(f"\N{NO-BREAK SPACE}{share.get_text()}")
    axes.get_legend().remove()
    return axes.figure


def _slices(plot: Any, study: Any, keys: list[str]) -> Any:
    found = plot.plot_slice(study, params=keys, target_name=LOSS)
    panels = [found] if len(keys) == 1 else list(found)
    figure = panels[0].figure
    panels[0].set_title("")
    figure.suptitle(f"{LOSS.capitalize()} by what was tried")
    for axes in panels:
        labels = [tick.get_text() for tick in axes.get_xticklabels()]
        if any(label.startswith(("'", '"')) for label in labels):  # values of a choice, as Python writes them
            axes.set_xticks(axes.get_xticks(), [label.strip("'\"") for label in labels])
    (bar,) = (axes for axes in figure.axes if axes not in panels)
    bar.set_ylabel("trial")
    _whole_numbers(bar.yaxis, first=1)
    return figure


def _on_the_way(plot: Any, study: Any, trials: int) -> Any:
    axes = plot.plot_intermediate_values(study)
    axes.set(title="On the way, and where trials were stopped", xlabel="optimizer steps", ylabel=LOSS)
    _whole_numbers(axes.xaxis)
    for line in axes.get_lines():
        line.set_label(f"trial {int(str(line.get_label()).removeprefix('Trial')) + 1}")
    if trials > 1:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    if trials > LEGEND:
        axes.get_legend().remove()
    return axes.figure


def _whole_numbers(axis: Any, first: int = 0) -> None:
    """first: what Optuna's 0 is called. It counts trials from there; the table and the terminal do from 1."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda number, _: f"{number + first:,.0f}"))


def _drawn(draw: Callable[[Any], Any]) -> str:
    """A figure of Optuna's as SVG. draw: is given `optuna.visualization.matplotlib`."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    import optuna

    # Optuna sets the style for all figures
    with plt.rc_context({"figure.constrained_layout.use": True}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few trials, and that Optuna may change these plots
        figure = draw(optuna.visualization.matplotlib)
        try:
            figure.set_layout_engine("constrained")
            figure.set_size_inches(8.5, 3.4)
            return as_svg(figure)
        finally:
            plt.close(figure)
