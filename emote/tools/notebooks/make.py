"""Write `notebooks/*.ipynb` from their sources, with outputs where they are to be looked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emote.config import key
from emote.tools.notebooks.run import execute
from emote.tools.notebooks.source import FOLDER, names, read_source
from emote.util.errors import ConfigError
from emote.util.files import write_text
from emote.util.hints import nearest

SHOWN_EMPTY = ("train_colab",)  # Colab fills it in


@dataclass
class Options:
    only: list[str] = key("notebooks to write, by their names; all if left out", default=[])
    execute: bool = key("run them, all but train_colab; else outputs of unchanged cells are kept", default=False)


def make(options: Options) -> int:
    """Raises ConfigError for a notebook that is not there, and for a cell that fails."""
    if not names():
        raise ConfigError("the sources of the notebooks come with a checkout of emote, and are not installed")
    for name in options.only or names():
        if name not in names():
            close = nearest(name, names())
            raise ConfigError(
                f"only={name} is no notebook; "
                + (f"did you mean {close}?" if close else f"there are {', '.join(names())}")
            )
        notebook = read_source(name)
        if options.execute and name not in SHOWN_EMPTY:
            print(f"executing {name}", flush=True)
            execute(notebook)
        else:
            keep_outputs(notebook, FOLDER / f"{name}.ipynb")
        path = write(notebook, name)
        print(f"{path.relative_to(FOLDER.parent)}: {len(notebook.cells)} cells, {path.stat().st_size / 1e6:.2f} MB")
    return 0


def write(notebook: Any, name: str) -> Path:
    """The notebook as a file, laid out as Jupyter itself saves it; returns its path."""
    import nbformat  # late: an extra

    path = FOLDER / f"{name}.ipynb"
    write_text(path, nbformat.writes(notebook) + "\n")
    return path


def keep_outputs(notebook: Any, file: Path) -> None:
    """Take over from a notebook's file the outputs of cells whose text is the same."""
    import nbformat  # late: an extra

    if not file.exists():
        return
    before = {cell.id: cell for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "code"}
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.id in before:
            cell.outputs, cell.execution_count = before[cell.id].outputs, before[cell.id].execution_count
