from __future__ import annotations

import pytest
from rich.console import Console

from emote.util.console import make_console, progress_bar, redraws_fail


@pytest.mark.parametrize("name", ["JPY_PARENT_PID", "COLAB_RELEASE_TAG"])
def test_a_command_of_a_notebook_draws_no_bar(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Console, "is_terminal", property(lambda self: self._force_terminal is not False))
    for other in ("JPY_PARENT_PID", "COLAB_RELEASE_TAG"):
        monkeypatch.delenv(other, raising=False)
    assert not progress_bar(make_console()).disable
    monkeypatch.setenv(name, "1")
    assert progress_bar(make_console()).disable


def test_a_terminal_redraws() -> None:
    assert not redraws_fail({"TERM": "xterm"})
