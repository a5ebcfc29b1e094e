"""The YAML files that words compose, compared with the schema: each for itself, so that its name can be told."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from hydra.types import RunMode
from omegaconf import OmegaConf

from emote.cli.check.findings import Findings
from emote.cli.check.values import leaf_problem
from emote.cli.composing import COMPOSING_FAILS, Composer, files_of, for_hydra
from emote.cli.explaining import explained, short
from emote.cli.groups import Groups
from emote.cli.keys import flat


def check_files(composer: Composer, words: list[str], found: Findings) -> bool:
    """Compare the YAML files that these words compose with the schema; False where one is not as it should be."""
    words = for_hydra(files_of(words))
    if (seen := " ".join(words)) not in found.sound_files:
        try:
            files = composer.loader.compute_defaults_list("config", words, RunMode.RUN).defaults
            repository = composer.repository(words)
            ours = [part for part in files if not re.match(r"hydra/|schema$", part.config_path)]
            found.sound_files[seen] = all([_check_file(repository, part, found) for part in ours])  # noqa: C419
        except COMPOSING_FAILS as error:
            found.sound_files[seen] = False
            found.add(_blamed(explained(error), error, composer, words))
    return found.sound_files[seen]


def _blamed(line: str, error: BaseException, composer: Composer, words: list[str]) -> str:
    """Hydra blames config.yaml for an option that is missing; the word with the `override` is to blame."""
    missing = re.search(r"In 'config': Could not find '(.+?)/([^/]+?)'", str(error))
    if missing is None:
        return line
    for word in words:
        config_path = word.replace("=", "/", 1)
        with suppress(*COMPOSING_FAILS):
            chosen = composer.repository(words).load_config(config_path)
            wanted = [(getattr(d, "group", "").lstrip("/"), getattr(d, "value", "")) for d in chosen.defaults_list]
            if missing.groups() in wanted:
                return line.replace("conf/config.yaml", _where(chosen, config_path))
    return line


def _where(loaded: Any, config_path: str) -> str:
    return short(f"{str(loaded.path).removeprefix('file://')}/{config_path}.yaml")


def _check_file(repository: Any, part: Any, found: Findings) -> bool:
    if part.config_path in found.sound_files:
        return found.sound_files[part.config_path]
    loaded = repository.load_config(part.config_path)
    where = _where(loaded, part.config_path)
    content = OmegaConf.to_container(loaded.config, resolve=False)
    lines = []
    if isinstance(content, dict) and f"{part.package}.".startswith(
        "experiment."
    ):  # then each of its keys would be one of that section's
        lines = ["its first line must be: # @package _global_"]
    elif isinstance(content, dict):
        values = flat(content, f"{part.package}." if part.package else "")
        known = ((name, value) for name, value in values if name.split(".")[0] not in ("hydra", "defaults"))
        wrong = (leaf_problem(name, value, Groups({}, {})) for name, value in known if value != "???")
        lines = [line for line in wrong if line]
    elif content is not None:
        lines = [f"the file must have keys, got a {type(content).__name__}"]
    for line in lines:
        found.add(f"{where}: {line}")
    found.sound_files[part.config_path] = not lines
    return not lines
