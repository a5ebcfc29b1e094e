"""How much memory of its own it takes to load the UNet in half precision: `-m tests.full_size.load_half <model>`."""

from __future__ import annotations

import re
import sys
import threading
import time
from pathlib import Path

import torch

from emote.config import ModelConfig
from emote.models import components
from tests.full_size.sd15 import describe


def own_bytes() -> int:
    """Without the pages of mapped files, which the system takes back when it needs them."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def main(model: str) -> None:
    base = components.locate(ModelConfig(model, None, None, 64, 8, None))
    components.load_scheduler(base)
    before = peak = own_bytes()
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, own_bytes())
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    unet = components.load_unet(base, torch.float16)
    done.set()
    watcher.join()
    weights = sum(parameter.numel() * parameter.element_size() for parameter in unet.parameters())
    dtypes = sorted({str(parameter.dtype) for parameter in unet.parameters()})
    describe(dtypes=dtypes, weights_bytes=weights, peak_bytes=max(peak, own_bytes()) - before)


if __name__ == "__main__":
    main(sys.argv[1])
