"""What a command ends with: a user's mistake is a few lines and an exit code, never a traceback."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

from emote.util.errors import ConfigError
from emote.util.files import not_written
from emote.util.places import how_to_install

# import name → what pip calls it, where the two differ in more than _ and -
PIP_NAMES = {"PIL": "pillow", "yaml": "pyyaml", "hydra": "hydra-core", "resvg_py": "resvg-py"}


def guarded(work: Callable[[], int | None]) -> int:
    """Do it, and return the exit code: 0 or what it returns; 2 for mistakes, missing packages and files that cannot be
    written; 130 interrupted; 143 terminated. Exceptions that nobody foresaw are raised as they are."""
    try:
        return work() or 0
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if (sentence := missing_package(error)) is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        return 2
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            return _nobody_reads()
        if (sentence := not_written(error)) is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:  # emote.util's Interrupted is one, and knows its signal
        print(str(stop) or "interrupted", file=sys.stderr)
        return 128 + int(getattr(stop, "signal_number", 2))


def _nobody_reads() -> int:
    """`--help | head`"""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains once more at its exit
    return 128 + 13


def missing_package(error: ModuleNotFoundError) -> str | None:
    """Which package to install, in one sentence; None where it is a module of emote's or of an installed package."""
    name = (error.name or "").partition(".")[0]
    if not name or name == "emote" or name in sys.stdlib_module_names or name in packages_distributions():
        return None
    package = PIP_NAMES.get(name, name.replace("_", "-"))
    return f"this needs the package {package}, which is not installed: {_how_to_install(package)}"


def _how_to_install(package: str) -> str:
    """By the extra of ours that has the package, else by itself."""
    try:
        lines = requires("emote") or []
    except PackageNotFoundError:  # a checkout that was not installed
        lines = []
    for line in lines:
        found = re.match(r"""([\w.-]+).*extra\s*==\s*["']([\w-]+)["']""", line)
        if found and found[1].lower().replace("_", "-") == package and found[2] != "dev":
            return how_to_install(found[2])
    return f"pip install {package}"
