"""Directories of runs with every kind of damage, and what must hold of each.

`python -m emote.tools.fuzz_runs count=100 seed=0 [more words of emote train]`: no traceback; the run goes on to the
same adapter bit for bit or is refused in a sentence; what was lost is named; and the run stands in the lists.
"""

from __future__ import annotations

import contextlib
import io
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

from emote.cli.train import compose_config
from emote.config import Config
from emote.runs.damage import ASIDE, checkpoint_damage
from emote.runs.listing import list_runs
from emote.sweeps.reports.results import gather
from emote.tools.fuzzing import take_numbers, try_seeds
from emote.training.run import run
from emote.util.errors import ConfigError
from emote.util.files import hash_rest, read_tensor_header

BEFORE, AFTER = 6, 8  # steps of the run that is damaged, and to which it is to go on
WORDS = ("experiment=smoke", "data.max_items=24", "hardware=cpu", "callbacks.checkpoint.every_steps=2",
         "callbacks.validation.every_steps=3", "callbacks.samples.prompts=[]")  # fmt: skip
# what of a run is told when it cannot be read or is gone; the rest is written again or of no consequence
TOLD = ("checkpoints/000006.ckpt", "arithmetic.json", "base_validation.json", "best/*.safetensors")


@dataclass(frozen=True)
class Sound:
    """A run that was stopped at BEFORE, and what it leaves at AFTER. adapters: file name → its bytes' hash."""

    config: Config
    root: Path
    adapters: dict[str, str]


def main(arguments: list[str]) -> int:
    """Try `count` damaged runs; print what failed with its seed, and what the others came to. 1 where any failed."""
    numbers, words = take_numbers(arguments, {"count": 100, "seed": 0})
    with tempfile.TemporaryDirectory() as directory:
        sound = make_sound(Path(directory) / "sound", words)
        return try_seeds(
            numbers["seed"], numbers["count"], "damaged runs",
            lambda seed: try_damage(Path(directory) / "damaged", seed, sound),
        )  # fmt: skip


def make_sound(directory: Path, words: list[str]) -> Sound:
    """Train to BEFORE steps, and a copy of it on to AFTER. words: of `emote train`, such as model.path."""
    config = compose_config([*WORDS, *words, f"run.cache_dir={directory}/cache", f"run.dir={directory}/runs"])
    _quietly(lambda: run(_to(config, BEFORE, directory / "runs"), []))
    shutil.copytree(directory / "runs", directory / "longer")
    longer, _ = _quietly(lambda: run(_to(config, AFTER, directory / "longer"), []))
    return Sound(config, directory / "runs", adapters_of(longer))


def try_damage(directory: Path, seed: int, sound: Sound) -> str:
    """Damage a copy of the run and go on with it; returns what came of it. Raises AssertionError for a silent drop."""
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(sound.root, directory)
    (root,) = (path for path in directory.iterdir() if path.is_dir())
    harmed = damage(root, random.Random(seed))
    listed = list_runs(directory)
    assert not listed or [row.name for row in listed] == [root.name]
    with contextlib.suppress(ConfigError):
        gather([root.name], directory)
    try:
        path, output = _quietly(lambda: run(_to(sound.config, AFTER, directory), []))
    except ConfigError as error:
        assert 0 < len(str(error)) < 5000 and "Traceback" not in str(error)
        return "refused"
    for file in harmed:
        if any(file.match(pattern) for pattern in TOLD):
            assert file.name in output, f"nothing is said of {file} ({harmed[file]}):\n{output}"
    assert adapters_of(path) == sound.adapters, f"another adapter after {harmed}:\n{output}"
    left = [
        file for file in path.parent.parent.rglob(f"*{ASIDE}") if file.suffixes[0] != ".ckpt" or checkpoint_damage(file)
    ]
    assert not left, f"set aside and never removed: {left}"
    return "went on" if "going on from step" in output else "began again"


def damage(root: Path, chosen: random.Random) -> dict[Path, str]:
    """Harm one to three files of a run; returns, by their paths in it, what was done that cannot be overlooked."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    usual = [path for path in files if path.parent.name == "checkpoints" or path.suffix in (".json", ".csv")]
    harmed: dict[Path, str] = {}
    for file in chosen.sample(usual * 2 + files, chosen.choice((1, 1, 2, 3))):
        name = file.relative_to(root)
        if not file.is_file() or name in harmed:
            continue
        harm = chosen.choice(list(HARMS))
        content = file.read_bytes()
        if harm == "gone":
            file.unlink()
            visible = name.suffix == ".ckpt"
        elif harm == "swapped":
            other = chosen.choice([path for path in file.parent.iterdir() if path.is_file()])
            file.write_bytes(other.read_bytes())
            other.write_bytes(content)
            visible = False
        else:
            file.write_bytes(HARMS[harm](content, chosen))
            visible = harm in ("emptied", "cut off", "replaced") or name.suffix in (".ckpt", ".safetensors")
            visible = visible and file.read_bytes() != content and (harm != "flipped" or name.suffix == ".safetensors")
        if visible:
            harmed[name] = harm
    return harmed


def adapters_of(path: Path) -> dict[str, str]:
    """Return of each adapter file of a finished step count the hash of its tensors."""
    import hashlib

    found = {}
    for file in sorted(path.glob("*.safetensors")):
        with file.open("rb") as stream:
            read_tensor_header(stream)
            found[file.name] = hash_rest(stream, hashlib.sha256())
    return found


def harm_bits(content: bytes, chosen: random.Random) -> bytes:
    """Return the content with up to 20 of its bits flipped."""
    data = bytearray(content or b"\0")
    for _ in range(chosen.randrange(1, 20)):
        data[chosen.randrange(len(data))] ^= 1 << chosen.randrange(8)
    return bytes(data)


HARMS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "emptied": lambda content, chosen: b"",
    "cut off": lambda content, chosen: content[: chosen.randrange(max(1, len(content) * 9 // 10))],
    "flipped": harm_bits,
    "replaced": lambda content, chosen: chosen.randbytes(300),
    "swapped": lambda content, chosen: content,
    "gone": lambda content, chosen: content,
}


def _to(config: Config, steps: int, runs_dir: Path) -> Config:
    return replace(config, trainer=replace(config.trainer, max_steps=steps), run=replace(config.run, dir=str(runs_dir)))


def _quietly(work: Callable[[], Path]) -> tuple[Path, str]:
    """Return what `work` returns, and what it printed."""
    with redirect_stdout(io.StringIO()) as output:
        return work(), output.getvalue()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
