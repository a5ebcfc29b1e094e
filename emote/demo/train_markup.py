"""What the Train tab shows, as HTML. All that was uploaded, typed or printed passes `escape`."""

from __future__ import annotations

from html import escape
from pathlib import Path

from emote.demo import training
from emote.demo.markup import url
from emote.demo.training import State, sentence
from emote.util.units import readable_seconds

CURVE_PX = (320, 72)
LAST_LINES = 40
RECENT = 20  # steps, of which the speed and the loss are taken
NOTHING_YET = '<p class="hint">What is found in your images is shown here, before anything is trained.</p>'
NO_TRAINING = '<p class="hint">No training yet. It goes on when this page is closed, and you can come back to it.</p>'


def found(report: str, sheet: Path | None) -> str:
    """Return the contact sheet and the words of `emote data check`."""
    image = f'<img class="sheet" src="{url(sheet)}" alt="Your images as the model sees them">' if sheet else ""
    return f'<div class="found">{image}<pre class="report">{escape(report.strip())}</pre></div>'


def status(state: State | None, sample: Path | None) -> str:
    """Return how the training stands: one sentence, a bar, the loss, images drawn on the way, the command."""
    if state is None:
        return NO_TRAINING
    share = min(state.step / max(state.steps, 1), 1.0)
    image = f'<img class="sheet" src="{url(sample)}" alt="Drawn on the way">' if sample else ""
    lines = "\n".join(state.said.strip().splitlines()[-LAST_LINES:])
    log = (
        f'<details><summary>What it says</summary><pre class="report">{escape(lines)}</pre></details>' if lines else ""
    )
    return (
        f'<div class="training {state.kind}"><p class="headline" role="status">{escape(headline(state))}</p>'
        f'<div class="bar" role="progressbar" aria-valuenow="{share:.0%}"><i style="width:{share:.1%}"></i></div>'
        f"{curve(state)}{image}{_failure(state)}"
        f'<p class="hint">The same in a terminal:</p><pre class="command">{escape(sentence(state.words))}</pre>'
        f"{log}</div>"
    )


def headline(state: State) -> str:
    name = state.run or "the run"
    at = f"step {state.step} of {state.steps}"
    if state.kind == training.FINISHED:
        return f"{name} is finished: {state.steps} steps."
    if state.kind == training.FAILED:
        return f"{name} ended at {at} with a mistake."
    if state.kind == training.STOPPED:
        return f"{name} is stopped at {at}; Go on continues where its last checkpoint was saved."
    if state.kind == training.STOPPING:
        return f"{name} is stopping at {at}: it finishes the step and saves."
    if not state.rows:
        return "Preparing: the images are read and encoded."
    if state.step >= state.steps:
        return f"{name}: {at}; drawing and writing what it leaves."
    recent = state.rows[-RECENT:]
    pace = sum(row.get("seconds", 0.0) for row in recent) / len(recent)
    loss = sum(row.get("loss", 0.0) for row in recent) / len(recent)
    return f"{name}: {at}, loss {loss:.3f}, about {readable_seconds(pace * (state.steps - state.step))} left."


def curve(state: State) -> str:
    """Return the loss by step, smoothed as an exponential mean, as a line."""
    if len(state.rows) < 2:
        return ""
    smooth: list[float] = []
    for row in state.rows:
        loss = row.get("loss", smooth[-1] if smooth else 0.0)
        smooth.append(loss if not smooth else 0.9 * smooth[-1] + 0.1 * loss)
    width, height = CURVE_PX
    low, high = min(smooth), max(smooth)
    scale = (height - 8) / max(high - low, 1e-9)
    points = " ".join(
        f"{width * row['step'] / state.steps:.1f},{height - 4 - scale * (loss - low):.1f}"
        for row, loss in zip(state.rows, smooth, strict=True)
    )
    return (
        f'<figure class="curve"><svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" '
        f'aria-label="Loss"><polyline points="{points}" fill="none" stroke="currentColor" stroke-width="2" '
        f'vector-effect="non-scaling-stroke"/></svg>'
        f"<figcaption>loss, smoothed: {low:.3f} to {high:.3f}, now {smooth[-1]:.3f}</figcaption></figure>"
    )


def _failure(state: State) -> str:
    return f'<pre class="report">{escape(state.said[-2000:])}</pre>' if state.kind == training.FAILED else ""
