"""peft looks at torchao wherever that is installed, and refuses old versions: said before anything is loaded."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from emote.util.errors import ConfigError


def check_torchao() -> None:
    """Raises ConfigError where the installed torchao keeps peft from attaching any adapter."""
    try:
        there = version("torchao")
    except PackageNotFoundError:
        return
    from peft.import_utils import is_torchao_available

    try:
        is_torchao_available()
    except ImportError as error:
        raise ConfigError(
            f"peft {version('peft')} refuses to work beside torchao {there}, which nothing here needs: "
            "pip uninstall -y torchao (or pip install -U torchao)"
        ) from error
