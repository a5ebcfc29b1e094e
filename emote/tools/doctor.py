"""`emote doctor`: what an issue should tell of a machine, and what is missing on it. No secrets, no user's name."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from tempfile import TemporaryFile

from emote import __version__
from emote.config import key
from emote.util.places import CHECKOUT, CONF, PACKAGE, bundled, how_to_install

EXTRAS = {  # what needs it: packages beside their extra
    "hub": ("data=hub and hub.push", ["huggingface_hub", "datasets"]),
    "wandb": ("logger=wandb", ["wandb"]),
    "demo": ("emote demo", ["gradio"]),
    "sweep": ("emote search", ["optuna"]),
    "joblib": ("launcher=joblib", ["joblib"]),
    "ray": ("launcher=ray", ["ray"]),
    "notebooks": ("emote notebooks", ["jupytext", "nbclient"]),
}
GIB = 2**30


@dataclass
class DoctorOptions:
    runs_dir: str = key("where runs are kept", default="runs")
    cache_dir: str = key("where encoded images are kept", default=".cache/emote")


@dataclass
class Finding:
    """A line of a section; problem: what is wrong and what to do, None where nothing is."""

    name: str
    value: str
    problem: str | None = None


def doctor(options: DoctorOptions) -> int:
    """Print what was found; 1 where something that every run needs is missing."""
    problems = []
    for title, findings in (
        ("versions", _versions()), ("device", _device()), ("paths", _paths(options)), ("extras", _extras()),
    ):  # fmt: skip
        print(f"\n{title}")
        try:
            for found in findings:
                print(f"  {found.name:<18} {_private(found.value)}")
                problems += [found.problem] if found.problem else []
        except ImportError as error:  # the rest of the section needs it
            problems.append(f"{error}; install emote again")
    print("\n" + "\n".join([*(f"missing: {_private(line)}" for line in problems)] or ["nothing is missing"]))
    return 1 if problems else 0


def _versions() -> Iterator[Finding]:
    yield Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in _required():
        try:
            yield Finding(name, version(name))
        except PackageNotFoundError:
            yield Finding(name, "missing", f"the package {name}: pip install {name}")
    from emote.runs.environment import git_revision  # late: it imports torch

    kind = f"a checkout at {git_revision() or 'no revision'}" if CHECKOUT else "installed"
    yield Finding("emote", f"{__version__}, {kind}")


def _required() -> list[str]:
    """The packages that emote cannot do without."""
    try:
        lines = requires("emote") or []
    except PackageNotFoundError:  # a checkout that was not installed
        lines = ["torch", "diffusers", "transformers", "peft", "pytorch-lightning", "hydra-core", "safetensors"]
    names = [re.match(r"[\w.-]+", line) for line in lines if "extra ==" not in line]
    return sorted(found[0] for found in names if found)


def _device() -> Iterator[Finding]:
    import psutil
    import torch

    yield Finding("CPU", f"{os.cpu_count()} cores, {psutil.virtual_memory().total / GIB:.0f} GiB of memory")
    yield Finding("torch is built for", f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU")
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        yield Finding(
            f"GPU {number}", f"{about.name}, {about.total_memory / GIB:.0f} GiB, capability {about.major}.{about.minor}"
        )
    if torch.backends.mps.is_available():
        yield Finding("GPU", "Apple (mps)")
    elif not torch.cuda.is_available():
        has_driver = shutil.which("nvidia-smi") is not None
        hint = "none; nvidia-smi is here, so this torch is built for another CUDA or for the CPU alone"
        yield Finding("GPU", hint if has_driver else "none")


def _paths(options: DoctorOptions) -> Iterator[Finding]:
    yield Finding("emote", str(PACKAGE))
    for name, path in (
        ("configuration", CONF / "config.yaml"),
        ("miniature", bundled("weights/mini/model_index.json")),
    ):
        there = path.is_file()
        yield Finding(name, str(path.parent), None if there else f"{path}, which comes with emote; install it again")
    for name, directory in (("runs_dir", options.runs_dir), ("cache_dir", options.cache_dir)):
        wanted = Path(directory).absolute()
        at = next(path for path in (wanted, *wanted.parents) if path.exists())
        problem = None
        try:
            with TemporaryFile(dir=at):
                pass
        except OSError as error:
            problem = f"{name}={directory} cannot be written to ({error.strerror}); name another"
        free = shutil.disk_usage(at).free / GIB
        yield Finding(
            name, f"{wanted}, {'there' if wanted.exists() else 'not yet there'}, {free:.0f} GiB free", problem
        )


def _extras() -> Iterator[Finding]:
    for extra, (what, modules) in EXTRAS.items():
        lacking = [name for name in modules if importlib.util.find_spec(name) is None]
        yield Finding(extra, f"{what}: {'not installed; ' + how_to_install(extra) if lacking else 'ready'}")
    yield Finding("Hub token", "found" if _hub_token() else "none; it is needed for hub.push and gated models")
    logged_in = "WANDB_API_KEY" in os.environ or "api.wandb.ai" in _text_of(Path.home() / ".netrc")
    yield Finding("W&B key", "found" if logged_in else "none; logs stay on this disk")


def _hub_token() -> bool:
    try:
        from huggingface_hub import get_token
    except ImportError:
        return False
    return get_token() is not None


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _private(text: str) -> str:
    """Without the home directory, which has the user's name."""
    return text.replace(str(Path.home()), "~") if Path.home() != Path("/") else text
