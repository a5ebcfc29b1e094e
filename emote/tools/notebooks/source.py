"""A notebook from its readable source: a script in jupytext's percent format, `notebooks/source/<name>.py`."""

from __future__ import annotations

import ast
import copy
import hashlib
from collections.abc import Mapping
from typing import Any

from emote.util.errors import ConfigError
from emote.util.hints import nearest
from emote.util.places import bundled, how_to_install

FOLDER = bundled("notebooks")
PARAMETERS = "parameters"  # tag of the cell whose values may be replaced, as papermill has it
HOW_TO_INSTALL = how_to_install("notebooks")
KEPT = ("kernelspec", "accelerator", "colab")  # of the source's header


def names() -> list[str]:
    """Of all notebooks, sorted."""
    return sorted(path.stem for path in (FOLDER / "source").glob("*.py"))


def read_source(name: str) -> Any:
    """The notebook without outputs. The same source gives the same notebook: a cell's id is a hash of its text."""
    try:
        import jupytext  # late: an extra
    except ImportError as error:
        raise ConfigError(f"making notebooks needs jupytext; say {HOW_TO_INSTALL}") from error
    notebook = jupytext.read(FOLDER / "source" / f"{name}.py", fmt="py:percent")
    notebook.metadata = {key: value for key, value in notebook.metadata.items() if key in KEPT}
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        digest = hashlib.sha256(f"{cell.cell_type}:{cell.source}".encode()).hexdigest()[:8]
        seen[digest] = seen.get(digest, 0) + 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
    return notebook


def with_parameters(notebook: Any, values: Mapping[str, Any]) -> Any:
    """A copy in which the cell tagged `parameters` assigns these values instead of its own.

    Raises ConfigError for names that the cell does not assign.
    """
    found = copy.deepcopy(notebook)
    cell = next((cell for cell in found.cells if PARAMETERS in cell.metadata.get("tags", [])), None)
    lines = ast.parse(cell.source).body if cell else []
    known = [
        line.targets[0].id for line in lines if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name)
    ]
    if unknown := sorted(set(values) - set(known)):
        close = nearest(unknown[0], known)
        hint = f"did you mean {close}?" if close else f"there are {', '.join(known) or 'none'}"
        raise ConfigError(f"{unknown[0]} is no parameter of the notebook; {hint}")
    if cell:
        cell.source += "".join(f"\n{name} = {value!r}" for name, value in values.items())
    return found
