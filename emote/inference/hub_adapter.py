"""An adapter on the Hub: which of a repository's files it is, fetched with what its card says."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import huggingface_hub
import yaml
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from emote.lora.description import PEFT_CONFIG
from emote.lora.layer_names import PARTS, PEFT_FILE
from emote.models.locate import HUB_TIMEOUT_S
from emote.util.errors import ConfigError

BESIDE = ("README.md", "config.yaml", "evaluation.json", PEFT_CONFIG)


def download(name: str, usual: str) -> tuple[Path, str | None, str]:
    """(file, base model or None, licence or "") of `owner/name`, or of one file in it: `owner/name/path/to/file`.

    usual: the file that is meant where none is named, if there is one of that name. Several of peft's files, one for
    each part of a pipeline, are one adapter: their directory is returned.
    Only what is meant, the card and the run's configuration are downloaded; without a network the Hub's cache serves.
    Raises ConfigError where it is not to be had, or holds several adapters and none is named.
    """
    owner, title, *rest = name.split("/")
    repository, wanted = f"{owner}/{title}", "/".join(rest)
    try:
        if constants.HF_HUB_OFFLINE:
            raise ConnectionError("HF_HUB_OFFLINE is set")
        info = huggingface_hub.HfApi().model_info(repository, timeout=HUB_TIMEOUT_S)
        files = [str(sibling.rfilename) for sibling in info.siblings or []]
        chosen = _choose(name, files, wanted, usual)
        folders = dict.fromkeys(Path(file).parent for file in chosen)
        wished = [*chosen, *BESIDE, *(str(folder / beside) for folder in folders for beside in BESIDE)]
        root = Path(huggingface_hub.snapshot_download(repository, revision=info.sha, allow_patterns=wished))
    except ConfigError:
        raise
    except Exception as error:  # the HTTP library's errors differ between versions; a cached copy may still do
        root = _cached(name, repository, error)
        chosen = _choose(name, [str(p.relative_to(root)) for p in sorted(root.rglob("*.safetensors"))], wanted, usual)
    card = _card(root / "README.md")
    base = card.get("base_model")
    base = base[0] if isinstance(base, list) and base else base
    file = root / (chosen[0] if len(chosen) == 1 else wanted)
    return file, str(base) if base else None, str(card.get("license") or "")


def _choose(name: str, files: list[str], wanted: str, usual: str) -> list[str]:
    adapters = [file for file in files if file.endswith(".safetensors")]
    chosen = [file for file in adapters if file in (wanted, str(PurePosixPath(wanted, usual)))]
    places = {str(PurePosixPath(wanted, part, PEFT_FILE)) for part in ("", *PARTS)}
    if chosen or (chosen := [file for file in adapters if file in places]):
        return chosen
    chosen = [] if wanted else adapters
    if len(chosen) != 1:
        listed = f"; set run={'/'.join(name.split('/')[:2])}/<file>, one of {', '.join(adapters)}" if adapters else ""
        raise ConfigError(f"run={name} has {len(chosen) or 'no'} such adapters as safetensors on the Hub{listed}")
    return chosen


def _cached(name: str, repository: str, error: Exception) -> Path:
    try:
        return Path(huggingface_hub.snapshot_download(repository, local_files_only=True))
    except Exception:
        pass
    if isinstance(error, GatedRepoError):
        raise ConfigError(
            f"run={name} is gated: accept its terms at https://huggingface.co/{repository}, then set HF_TOKEN"
        )
    if isinstance(error, RepositoryNotFoundError):
        raise ConfigError(f"run={name} is neither a run here nor a model on the Hub that you may read")
    reason = (str(error) or type(error).__name__).splitlines()[0][:100]
    raise ConfigError(f"run={name} is not on this machine, and the Hub cannot be reached ({reason})")


def _card(readme: Path) -> dict[str, Any]:
    """The YAML at the top of a model card; {} where there is none that can be read."""
    if not readme.is_file():
        return {}
    _, found, rest = readme.read_text(encoding="utf-8", errors="replace").partition("---\n")
    try:
        values = yaml.safe_load(rest.partition("\n---")[0]) if found else {}
    except yaml.YAMLError:
        return {}
    return values if isinstance(values, dict) else {}
