"""Nothing of this machine in what others read: its paths, the user's and the host's names, tokens."""

from __future__ import annotations

import getpass
import os
import re
import shlex
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

SECRET_NAME = re.compile(r"(^|_)(TOKEN|KEY|SECRET|PASSWORD)$", re.IGNORECASE)
SHORTEST_SECRET = 8  # characters; shorter values of such variables are switches
SHORTEST_NAME = 3
TOKENS = re.compile(r"\b(?:hf|sk|ghp|github_pat|wandb_v1)_\w{16,}")
PATH = re.compile(r"(?<![\w.:/~\\-])(?:~?/|[A-Za-z]:[\\/])[^\s\"'<>|,;]*[^\s\"'<>|,;./\\]")
HIDDEN_TOKEN, HIDDEN_NAME = "<token>", "somebody"


class Scrubber:
    """keep: texts that are published on purpose, such as prompts; a user who is called like a word in them stays."""

    def __init__(self, keep: Iterable[str] = ()) -> None:
        said = {word.lower() for text in keep for word in re.findall(r"\w+", text)}
        names = sorted(name for name in _names() if name.lower() not in said)
        self.secrets = sorted(_secrets(), key=len, reverse=True)
        self._names = (
            re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(map(re.escape, names))})(?![A-Za-z0-9])") if names else None
        )

    def text(self, text: str) -> str:
        """Return a value or a sentence: an absolute path becomes its last part."""
        if _is_path(text):
            text = _last_part(text)
        text = PATH.sub(lambda found: _last_part(found[0]), text)
        for secret in self.secrets:
            text = text.replace(secret, HIDDEN_TOKEN)
        text = TOKENS.sub(HIDDEN_TOKEN, text)
        return self._names.sub(HIDDEN_NAME, text) if self._names else text

    def command(self, line: str) -> str:
        """Return a command line, word by word: a path with spaces is one word."""
        words = [word.partition("=") for word in shlex.split(line)]
        return shlex.join(f"{self.text(key)}{sign}{self.text(value)}" for key, sign, value in words)

    def values(self, values: Any) -> Any:
        """Return every text in nested dictionaries and lists."""
        if isinstance(values, dict):
            return {key: self.values(value) for key, value in values.items()}
        if isinstance(values, list):
            return [self.values(value) for value in values]
        return self.text(values) if isinstance(values, str) else values


def _is_path(text: str) -> bool:
    return bool(re.match(r"[/~\\]|\.\.?[/\\]|[A-Za-z]:[/\\]", text)) and "\n" not in text and "://" not in text


def _last_part(path: str) -> str:
    windows = "\\" in path or re.match(r"[A-Za-z]:", path)
    name = (PureWindowsPath(path) if windows else PurePosixPath(path)).name
    return name if name not in ("", "~", "..") else "."


def _names() -> set[str]:
    found = {Path.home().name, socket.gethostname(), socket.gethostname().partition(".")[0]}
    with suppress(OSError, KeyError):  # a container's user without a name
        found.add(getpass.getuser())
    return {name for name in found if len(name) >= SHORTEST_NAME}


def _secrets() -> set[str]:
    from huggingface_hub import get_token  # late: it takes a moment

    found = {value for name, value in os.environ.items() if SECRET_NAME.search(name)} | {get_token() or ""}
    return {value for value in found if len(value) >= SHORTEST_SECRET and not _is_path(value)}
