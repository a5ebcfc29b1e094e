"""Notebooks are executed by this Python, in a kernel of their own."""

from __future__ import annotations

import base64
import io
import sys
from pathlib import Path

import nbformat
import pytest
from PIL import Image

from emote.tools.notebooks.run import execute
from emote.util.errors import ConfigError

NOISE = """
import numpy as np
from PIL import Image
Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8))
"""


def notebook(*cells: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in cells])


def test_outputs_are_filled_in_and_large_images_made_small(tmp_path: Path) -> None:
    book = notebook("!python -c 'import sys; print(sys.executable)'", "import os; print(os.getcwd())", NOISE)
    before = dict(book.metadata)
    execute(book, tmp_path)
    assert book.metadata == before
    shell, where, image = (cell.outputs[0] for cell in book.cells)
    assert Path(shell.text.strip()).parent == Path(sys.executable).parent
    assert Path(where.text.strip()).samefile(tmp_path)
    assert list(image.data) == ["image/jpeg"]  # nor the text that stands for it, which holds an address
    assert Image.open(io.BytesIO(base64.b64decode(image.data["image/jpeg"]))).size == (200, 200)
    assert list(tmp_path.iterdir()) == []


def test_a_cell_that_fails_stops_and_is_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"(?s)a cell failed.*1 / 0.*ZeroDivisionError"):
        execute(notebook("1 / 0", "open('later', 'w')"), tmp_path)
    assert list(tmp_path.iterdir()) == []
