"""What went wrong, or is worth knowing, in one sentence that stays until it is read or something else is done.

Gradio's own messages vanish by themselves, and do not appear at all for calls that are not queued.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from html import escape
from itertools import count
from typing import Any

import gradio as gr

from emote.util.errors import ConfigError

NUMBERS = count()  # or the same notice again, after it was closed, would change nothing on the page


@dataclass(frozen=True)
class Noted:
    """Values for the page, and a notice beside them."""

    values: tuple[Any, ...]
    text: str


def with_notice(action: Callable[..., Any], outputs: int, *, wipes: bool = True) -> Callable[..., tuple[Any, ...]]:
    """Return an action of one more output than `outputs`: the notice, as HTML, empty where all went well.

    Mistakes change nothing but the notice. wipes: whether a notice that is there goes where all went well; not for what
    nobody asked for, such as a page's loading, whose answer may come after that to a first click.
    """
    clear = "" if wipes else gr.skip()

    @wraps(action)  # Gradio reads the signature
    def act(*arguments: Any, **keywords: Any) -> tuple[Any, ...]:
        try:
            result = action(*arguments, **keywords)
        except ConfigError as error:
            return (*[gr.skip()] * outputs, notice(str(error)))
        except Exception as error:
            traceback.print_exception(error, file=sys.stderr)
            return (*[gr.skip()] * outputs, notice(f"Something broke: {type(error).__name__}; the terminal says more"))
        if isinstance(result, Noted):
            return (*result.values, notice(result.text))
        if outputs == 0:
            return (clear,)
        return (*result, clear) if outputs > 1 else (result, clear)

    return act


def notice(text: str) -> str:
    lines = escape(text).replace("\n", "<br>")
    return (
        f'<div class="notice" role="alert" data-number="{next(NUMBERS)}"><p>{lines}</p>'
        '<button type="button" aria-label="Close" onclick="this.parentElement.remove()">×</button></div>'
    )
