"""Leave the terminal to what the user needs to see: libraries' warnings are rarely about their run."""

from __future__ import annotations

import logging
import os
import sys
import warnings


def quiet_libraries() -> None:
    """Call it before the libraries are imported, as some decide then how much they say, and again after."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for library in ("pytorch_lightning", "lightning", "lightning_fabric", "diffusers", "transformers"):
        logging.getLogger(library).setLevel(logging.ERROR)
    for module in ("pytorch_lightning", "lightning_fabric", "torch", "diffusers", "peft", "transformers", "tqdm"):
        warnings.filterwarnings("ignore", module=rf"{module}\b.*")
    if "transformers" in sys.modules:
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()  # a bar for a file of two megabytes
