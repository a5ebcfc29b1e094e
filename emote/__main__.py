"""`emote <command> …`, which `python -m emote` is too. Each command is a module in emote/commands/."""

from __future__ import annotations

import ast
import sys
from importlib import import_module
from pathlib import Path

from emote import __version__
from emote.cli.guard import guarded
from emote.cli.keywords import HELP
from emote.cli.layout import row
from emote.util.errors import ConfigError
from emote.util.hints import did_you_mean, nearest
from emote.util.places import PACKAGE

COMMANDS = PACKAGE / "commands"
TITLE = "Fine-tune Stable Diffusion with LoRA on emoji art, from a folder of images to an emoji pack."
FIRST = ("train", "generate", "pack", "demo", "runs")  # as one needs them; the rest by name
ENDING = "`emote <command> --help` explains a command with all its keys, `--help WORD` those about a word alone."


def main(arguments: list[str] | None = None) -> int:
    """Do what the words say; returns the exit code."""
    return guarded(lambda: _dispatch(sys.argv[1:] if arguments is None else arguments))


def _dispatch(arguments: list[str]) -> int:
    folder, said = COMMANDS, "emote"
    while arguments and (folder / _file_name(arguments[0])).is_dir() and arguments[0] != "__pycache__":
        folder, said = folder / _file_name(arguments[0]), f"{said} {arguments[0]}"
        arguments = arguments[1:]
    if not arguments or arguments[0] in HELP:
        print(overview(folder, said))
        return 0
    if arguments == ["--version"]:
        print(f"emote {__version__}")
        return 0
    module = folder / f"{_file_name(arguments[0])}.py"
    if arguments[0].startswith("_") or not module.is_file():
        raise ConfigError(_unknown(arguments, folder, said))
    name = ".".join(("emote", *module.relative_to(PACKAGE).with_suffix("").parts))
    return import_module(name).main(arguments[1:])


def overview(folder: Path = COMMANDS, said: str = "emote") -> str:
    """Return the commands in a folder with their first sentences, read without importing them."""
    rows = [line for name in commands(folder) for line in row(name, 20, summary(folder / _file_name(name)))]
    return "\n".join([TITLE, "", f"  {said} <command> [key=value …]", "", *rows, "", ENDING])


def commands(folder: Path = COMMANDS) -> list[str]:
    """Return the names of the commands, as they are typed."""
    found = [path.stem.replace("_", "-") for path in folder.iterdir() if not path.name.startswith("_")]
    return sorted(found, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))


def summary(path: Path) -> str:
    """Return the first line of a command's docstring, or of its folder's."""
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def _file_name(command: str) -> str:
    return command.replace("-", "_")


def _unknown(arguments: list[str], folder: Path, said: str) -> str:
    word = arguments[0]
    if "=" in word and folder == COMMANDS:
        return f"{word} is no command; did you mean `emote train {' '.join(arguments)}`?"
    guess = nearest(word, commands(folder))
    known = f"; there are {', '.join(commands(folder))}"
    return f"{said} has no command {word}{did_you_mean(f'`{said} {guess}`' if guess else None) or known}"


if __name__ == "__main__":
    sys.exit(main())
