"""Components that a configuration chooses by their names: one file is one component, here or in another package."""

from __future__ import annotations

import ast
import functools
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from emote.util.errors import ConfigError
from emote.util.hints import not_one_of


@dataclass(frozen=True)
class Kind:
    """What can be chosen for one purpose.

    name: and `emote.<name>` is the entry point group in which other packages offer modules of this kind.
    package: each of its modules is a component that is called as its file.
    function: what each module defines. It may also define Options, a dataclass whose fields are made by
    `emote.config.key` with defaults, which the function then takes as `options`; and PACKAGE, which it needs.
    """

    name: str
    package: str
    function: str

    def names(self) -> list[str]:
        return [*_files(self.package), *offered(self.name)]

    def meaning(self, name: str) -> str:
        """Return the first sentence of a component's docstring; a file of this repository is not imported for it."""
        file = _files(self.package).get(name)
        text = ast.get_docstring(ast.parse(file.read_text("utf-8"))) if file else self.load(name).__doc__
        return re.split(r"(?<=\.)\s", (text or "").strip(), maxsplit=1)[0].replace("\n", " ")

    def load(self, name: str) -> ModuleType:
        """Return a component's module. Raises ConfigError where it cannot be imported."""
        try:
            if name in _files(self.package):
                return import_module(f"{self.package}.{name}")
            return offered(self.name)[name].load()
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"{self.name} {name} cannot be imported: {error}") from error

    def problem(self, key: str, choice: Any) -> str | None:
        """Return what is wrong with the value of a key that chooses a component; None where nothing is."""
        if isinstance(choice, Mapping):
            return None if "_target_" in choice else f"{key} must be a name, or a mapping with _target_, got {choice}"
        names = self.names()
        if choice in names:
            return None
        return not_one_of(key, choice, names)

    def require(self, key: str, choice: Any) -> None:
        """Raise ConfigError where a choice can be told to fail: a package is missing, a `_target_` does not exist."""
        if isinstance(choice, Mapping):
            resolve_target(key, choice["_target_"])
            return
        package = getattr(self.load(choice), "PACKAGE", None) if self._may_define(choice, "PACKAGE") else None
        if package is not None and find_spec(package) is None:
            raise ConfigError(f"{key}={choice} needs the package {package}: pip install {package}")

    def make(self, choice: Any, options: Any = None) -> Callable[..., Any]:
        """Return the function of a chosen component with its options filled in.

        options: of all components, by their names (`Config.options`); without them each has its defaults. The keys
        beside a `_target_` are that function's arguments. Raises ConfigError as `require` does.
        """
        self.require(self.name, choice)
        if isinstance(choice, Mapping):
            from hydra.utils import instantiate

            return instantiate(dict(choice), _partial_=True)
        module = self.load(choice)
        function = getattr(module, self.function)
        if not hasattr(module, "Options"):
            return function
        return functools.partial(function, options=getattr(options, choice, None) or module.Options())

    def problems(self, choice: Any, section: Any) -> Iterator[str]:
        """Yield what a chosen component finds wrong with the section of the configuration in which it is chosen."""
        if isinstance(choice, str) and self._may_define(choice, "def problems"):
            yield from getattr(self.load(choice), "problems", lambda section: [])(section)

    def told(self, choice: Any, name: str, default: Any) -> Any:
        """Return a constant that a chosen component may define."""
        known = isinstance(choice, str) and self._may_define(choice, name)
        return getattr(self.load(choice), name, default) if known else default

    def _may_define(self, name: str, text: str) -> bool:
        """False for a file here without the text: its import may take seconds and is saved."""
        file = _files(self.package).get(name)
        return file is None or text in file.read_text("utf-8")

    def sections(self) -> Iterator[tuple[str, type]]:
        """(name, type of its options) of each component that has options and can be imported."""
        for name in self.names():
            if not self._may_define(name, "class Options"):
                continue
            try:
                options = getattr(self.load(name), "Options", None)
            except ConfigError:
                continue  # told where it is chosen
            if options is not None:
                yield name, options


def resolve_target(key: str, target: Any) -> Any:
    """Return the class or function that a `_target_` names. Raises ConfigError where there is none."""
    try:
        return pkgutil.resolve_name(str(target))
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{key}._target_ must be package.module.Name, got {target}: {error}") from error


@functools.cache
def _files(package: str) -> dict[str, Path]:
    spec = find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    found = [info.name for info in pkgutil.iter_modules(folders) if not info.name.startswith("_")]
    return {name: Path(folders[0]) / f"{name}.py" for name in sorted(found)}


@functools.cache
def offered(kind: str) -> dict[str, EntryPoint]:
    """Return what other packages offer of a kind, by its name."""
    return {entry.name: entry for entry in sorted(entry_points(group=f"emote.{kind}"), key=lambda e: e.name)}
