"""Install packages into the environment of this Python: with uv, set up as pip is, and with pip where uv cannot.

    .venv/bin/python scripts/install.py --constraint constraints.txt --editable .

The arguments are pip's. Pip's own options (an index, a proxy, …) may stand in the variable PIP_ARGS too.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"

Settings = dict[str, list[str]]  # pip's long option → its values; of a flag "true" or "false"

# pip's option → uv's; these may be given several times
LISTS = {
    "extra-index-url": "--extra-index-url", "find-links": "--find-links", "constraint": "--constraint",
    "trusted-host": "--allow-insecure-host",
}  # fmt: skip
SINGLES = {"index-url": "--default-index"}
FLAGS = {"no-index": ["--no-index"], "pre": ["--prerelease", "allow"], "no-cache-dir": ["--no-cache"]}
# what uv reads from the environment
VARIABLES = {
    "cert": ["SSL_CERT_FILE"], "client-cert": ["SSL_CLIENT_CERT"], "timeout": ["UV_HTTP_TIMEOUT"],
    "proxy": ["HTTP_PROXY", "HTTPS_PROXY"], "retries": ["UV_HTTP_RETRIES"],
}  # fmt: skip
# neither of them says which packages are installed from where
HARMLESS_FLAGS = {
    "break-system-packages", "disable-pip-version-check", "no-color", "no-input", "no-warn-conflicts",
    "no-warn-script-location", "quiet", "require-virtualenv", "verbose",
}  # fmt: skip
HARMLESS = HARMLESS_FLAGS | {"args", "cache-dir", "config-file", "log", "progress-bar", "root-user-action"}
SAME = {"default-timeout": "timeout", "pypi-url": "index-url"}
SHORT = {"-i": "index-url", "-f": "find-links", "-c": "constraint", "-q": "quiet", "-v": "verbose"}
CHOOSES_PACKAGES = {"index-url", "extra-index-url", "find-links", "constraint", "no-index"}
FALSE = {"", "0", "false", "no", "off", "f", "n"}


class OnlyPip(Exception):
    """Pip is set to something that uv cannot be told."""


def read_pip_settings(listed: str) -> Settings:
    """What `pip config list` says of `pip install`: of a key, `[install]` wins over `[global]`, and PIP_* over both."""
    sections: dict[str, Settings] = {"global": {}, "install": {}, ":env:": {}}
    for line in listed.splitlines():
        name, _, text = line.partition("=")
        section, _, key = name.partition(".")
        value = str(ast.literal_eval(text)) if section in sections else ""
        if value:
            key = SAME.get(key, key)
            sections[section][key] = value.split() if key in LISTS else [value]
    return sections["global"] | sections["install"] | sections[":env:"]


def read_pip_arguments(words: list[str]) -> Settings:
    """Pip's options as settings. Raises OnlyPip for what is no option known here."""
    settings: Settings = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        key = SHORT.get(name) or (name.removeprefix("--") if name.startswith("--") else "")
        key = SAME.get(key, key)
        if key in FLAGS or key in HARMLESS_FLAGS:
            settings[key] = ["true"]
        elif key in LISTS or key in SINGLES or key in VARIABLES or key in HARMLESS:
            if not equals and not rest:
                raise OnlyPip(f"{word} without a value")
            value = value if equals else rest.pop(0)
            settings[key] = [*settings.get(key, []), value] if key in LISTS else [value]
        else:
            raise OnlyPip(word)
    return settings


def merge(configured: Settings, typed: Settings) -> Settings:
    """Typed options win over the configuration's; lists are added to it, as pip does."""
    lists = {key: configured.get(key, []) + typed[key] for key in typed if key in LISTS}
    return configured | typed | lists


def translate(settings: Settings) -> tuple[list[str], dict[str, str]]:
    """uv's arguments, and the variables of its environment, that mean what pip's settings mean.

    Raises OnlyPip for a setting that may choose packages and that uv has no word for.
    """
    arguments: list[str] = []
    variables: dict[str, str] = {}
    for key, values in sorted(settings.items()):
        if key in LISTS:
            for value in values:
                arguments += [LISTS[key], str(Path(value).expanduser()) if value.startswith("~") else value]
        elif key in SINGLES:
            arguments += [SINGLES[key], values[-1]]
        elif key in VARIABLES:
            variables |= dict.fromkeys(VARIABLES[key], values[-1])
        elif key in FLAGS:
            arguments += [] if values[-1].lower() in FALSE else FLAGS[key]
        elif key not in HARMLESS:
            raise OnlyPip(key)
    if CHOOSES_PACKAGES & settings.keys():
        # uv stops at the first index that knows a package; pip takes the best of all
        arguments += ["--index-strategy", "unsafe-best-match"]
    return arguments, variables


def torch_backend(settings: Settings, environment: Mapping[str, str], system: str) -> list[str]:
    """`--torch-backend=auto` where nobody says where packages come from: no CUDA for a Linux machine without a GPU."""
    told = {name for name in environment if name.startswith("UV_") and ("INDEX" in name or "FIND_LINKS" in name)}
    if system != "Linux" or told or "UV_TORCH_BACKEND" in environment or CHOOSES_PACKAGES & settings.keys():
        return []
    return ["--torch-backend", "auto"]


def run(*command: str, environment: Mapping[str, str] | None = None) -> bool:
    return subprocess.run(command, env=environment).returncode == 0


def install_with_uv(words: list[str], typed: list[str]) -> None:
    """Raises OnlyPip where uv cannot be had, cannot be told what pip is told, or fails."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    settings = merge(read_pip_settings(listed.stdout), read_pip_arguments(typed))
    arguments, variables = translate(settings)
    arguments += torch_backend(settings, os.environ, platform.system())
    uv = Path(sys.executable).with_name("uv.exe" if os.name == "nt" else "uv")
    if not uv.exists() and not run(*pip_install(typed), "--constraint", str(CONSTRAINTS), "uv"):
        raise OnlyPip("uv cannot be installed")
    quiet = [] if sys.stderr.isatty() else ["--quiet"]
    command = [str(uv), "pip", "install", "--python", sys.executable, *quiet, *arguments, *words]
    if not run(*command, environment={**os.environ, **variables}):
        raise OnlyPip("uv failed")


def pip_install(typed: list[str]) -> list[str]:
    return [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", *typed]


def main() -> int:
    words, typed = sys.argv[1:], shlex.split(os.environ.get("PIP_ARGS", ""))
    if sys.prefix == sys.base_prefix:
        print(f"error: {sys.executable} is no virtual environment; `make` makes .venv", file=sys.stderr)
        return 2
    started = time.monotonic()
    if importlib.util.find_spec("pip") is None:  # an environment that uv made
        run(sys.executable, "-m", "ensurepip")
    try:
        install_with_uv(words, typed)
    except OnlyPip as reason:
        print(f"pip installs, which takes minutes: {reason}", file=sys.stderr)
        if not run(*pip_install(typed), *words):
            return 1
    print(f"installed in {time.monotonic() - started:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
