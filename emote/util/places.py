"""Where what belongs to emote lies besides its code: inside the package in a wheel, beside it in a checkout."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
CHECKOUT: Path | None = None if (PACKAGE / "conf").is_dir() else PACKAGE.parent  # None in a wheel
ROOT = CHECKOUT or PACKAGE
CONF = ROOT / "conf"
TRAIN = "python train.py" if CHECKOUT else "emote train"  # what people type


def bundled(path: str) -> Path:
    """Return the file or directory that comes with emote under this relative path, such as `weights/mini`."""
    return ROOT / path


def how_to_install(extra: str) -> str:
    """Return the command that installs one of the extras of pyproject.toml."""
    return f"pip install -e '.[{extra}]'" if CHECKOUT else f"pip install 'emote[{extra}]'"
