"""Execute a notebook from its first cell to its last, in a kernel of its own."""

from __future__ import annotations

import base64
import copy
import io
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from emote.tools.notebooks.source import FOLDER, HOW_TO_INSTALL
from emote.util.errors import ConfigError

LONGEST_CELL_S = 1800
LARGE_BYTES, JPEG_QUALITY = 50_000, 88  # of images: curves stay sharp, and a file can be shown by GitHub


def execute(notebook: Any, folder: Path = FOLDER) -> None:
    """Fill in the outputs, with `folder` as working directory; `!python` is the Python that runs this.

    Raises ConfigError, with the cell and what went wrong in it, where a cell fails.
    """
    try:
        from jupyter_client.manager import AsyncKernelManager  # late: an extra
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError
    except ImportError as error:
        raise ConfigError(f"executing notebooks needs nbclient and ipykernel; say {HOW_TO_INSTALL}") from error
    metadata = copy.deepcopy(notebook.metadata)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    with TemporaryDirectory() as sockets:
        manager = AsyncKernelManager(kernel_name="python3")
        if os.name != "nt":  # files that no other user can open, rather than ports
            manager.transport, manager.ip = "ipc", f"{sockets}/kernel"
        client = NotebookClient(
            notebook, km=manager, timeout=LONGEST_CELL_S, resources={"metadata": {"path": str(folder)}},
            record_timing=False,
        )  # fmt: skip
        try:
            client.execute(env={**os.environ, "PATH": path}, cleanup_kc=True)  # else the kernel outlives the notebook
        except CellExecutionError as error:
            raise ConfigError(f"a cell failed:\n{error}") from error
    notebook.metadata = metadata  # not the version of Python that happened to run it
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            _shrink(output)


def _shrink(output: Any) -> None:
    """Store a large image as JPEG where that is smaller, and none with the text that stands for it."""
    data = output.get("data", {})
    if "image/png" not in data:
        return
    kind, content = "image/png", base64.b64decode(data["image/png"])
    if len(content) > LARGE_BYTES:
        small = io.BytesIO()
        image = Image.open(io.BytesIO(content)).convert("RGB")
        image.save(small, "JPEG", quality=JPEG_QUALITY, subsampling=0, optimize=True)
        if small.tell() < len(content):
            kind, content = "image/jpeg", small.getvalue()
    output["data"] = {kind: base64.b64encode(content).decode()}
