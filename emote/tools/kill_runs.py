"""A run that is killed at random moments, sometimes with its newest checkpoint damaged: its adapter is the same.

`python -m emote.tools.kill_runs count=100 damaged=20 seed=0 [more words of emote train]`: each time a run begins, is
ended by SIGKILL somewhere between its first moment and its last, and begun again; it must come to the tensors that the
undisturbed run came to.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from omegaconf import OmegaConf

from emote.cli.train import compose_config
from emote.config import to_dataclass
from emote.runs.find import list_run_folders
from emote.tools.fuzz_runs import HARMS, adapters_of
from emote.tools.fuzzing import take_numbers
from emote.training.run import run

WORDS = ("experiment=smoke", "data.max_items=12", "trainer.max_steps=12", "hardware=cpu",
         "callbacks.checkpoint.every_steps=2", "callbacks.samples.prompts=[]")  # fmt: skip
HEAVY = ("diffusers", "emote", "matplotlib", "peft", "pytorch_lightning", "torch", "transformers")
MODULES = "modules.txt"
IN_PLACE = ("emptied", "cut off", "flipped", "replaced")


def main(arguments: list[str]) -> int:
    """Print a line every ten times, and what it came to. 1 where an adapter was another one."""
    numbers, words = take_numbers(arguments, {"count": 100, "damaged": 20, "seed": 0})
    with tempfile.TemporaryDirectory() as directory:
        told = kill_and_compare(Path(directory), words, **numbers)
    print(told.pop("sentence"))
    return 1 if told["different"] else 0


def kill_and_compare(directory: Path, words: list[str], count: int, damaged: int, seed: int) -> dict[str, Any]:
    """Kill a run `count` times, with `damaged` newest checkpoints; returns how often what happened.

    words: of `emote train`, such as model.path.
    """
    chosen = random.Random(seed)
    config = OmegaConf.to_yaml(
        OmegaConf.structured(compose_config([*WORDS, *words, f"run.cache_dir={directory}/cache"]))
    )
    _finish(multiprocessing.get_context("spawn"), directory / "first", config)  # it encodes the images
    # each run is a process of its own, which does not load what that one loaded
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload((directory / "first" / MODULES).read_text().split())
    straight, seconds = _finish(context, directory / "straight", config)
    found = {"killed": 0, "finished before": 0, "damaged": 0, "from a checkpoint": 0, "different": 0}
    for number in range(count):
        where = directory / "killed"
        shutil.rmtree(where, ignore_errors=True)
        process = context.Process(target=_run, args=(where, config))
        process.start()
        _wait(process, chosen.uniform(0, seconds))
        found["killed" if process.is_alive() else "finished before"] += 1
        process.kill()
        process.join()
        saved = [folder.checkpoint(step) for folder in list_run_folders(where) for step in folder.checkpoint_steps()]
        found["from a checkpoint"] += bool(saved)
        # spread over all of them; where there is no checkpoint yet, the next time
        if saved and found["damaged"] < damaged * (number + 1) / count:
            saved[-1].write_bytes(HARMS[chosen.choice(IN_PLACE)](saved[-1].read_bytes(), chosen))
            found["damaged"] += 1
        if _finish(context, where, config)[0] != straight:
            found["different"] += 1
            print(f"another adapter after kill {number} of seed {seed}; the log:\n{_log(where)}", file=sys.stderr)
        if (number + 1) % 10 == 0:
            print(f"{number + 1} of {count}: {found}", flush=True)
    sentence = (
        f"{count} times: {found['killed']} killed ({found['finished before']} had finished), "
        f"{found['from a checkpoint']} had a checkpoint, the newest damaged in {found['damaged']}; "
        f"{found['different']} adapters differ from the undisturbed run's"
    )
    return {**found, "sentence": sentence}


def _finish(context: Any, where: Path, config: str) -> tuple[dict[str, str], float]:
    """Let a run end; returns its adapters, and the seconds of CPU time that it took."""
    process = context.Process(target=_run, args=(where, config))
    process.start()
    seconds = _wait(process, math.inf)
    assert process.exitcode == 0, f"exit code {process.exitcode}:\n{_log(where)}"
    (folder,) = list_run_folders(where)
    path = folder.last_deliverables()
    assert path is not None
    return adapters_of(path), seconds


def _wait(process: Any, until_s: float) -> float:
    """Until a process ends or has had so much CPU time, which says where it is however busy the machine is; returns
    what it had."""
    seconds = 0.0
    while process.is_alive() and seconds < until_s:
        with suppress(psutil.Error):
            seconds = max(seconds, sum(psutil.Process(process.pid).cpu_times()[:2]))
        process.join(0.01)
    return seconds


def _run(where: Path, config: str) -> None:
    import torch

    where.mkdir(parents=True, exist_ok=True)
    output = os.open(where / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    torch.set_num_threads(1)
    read: Any = OmegaConf.create(config)
    composed = to_dataclass(read)
    composed.run.dir = str(where)
    run(composed, [])
    (where / MODULES).write_text("\n".join(name for name in sys.modules if name.partition(".")[0] in HEAVY))


def _log(where: Path) -> str:
    file = where / "output.txt"
    return file.read_text(encoding="utf-8")[-3000:] if file.exists() else "nothing was printed"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
