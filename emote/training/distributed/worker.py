"""What every process but the first does in a run on several devices: build the same job, and train when it does.

Started as `python -m emote.training.distributed.worker` by the first process; torchrun and Slurm start
`train.py`, which comes here too. It writes nothing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from omegaconf import OmegaConf

from emote.config import to_dataclass
from emote.training.data_report import usable
from emote.training.distributed.process_group import ProcessGroup, other
from emote.training.distributed.process_index import ProcessIndex
from emote.training.fit import fit
from emote.training.identify import identify
from emote.training.job import build_job, read_encoded
from emote.util.console import console
from emote.util.interrupt import Interrupted, StopRequest
from emote.util.quiet import quiet_libraries


def run_worker(process_group: ProcessGroup) -> Path | None:
    """Wait for the first process to be ready, and train with it. Returns the run's directory; None: nothing to do.

    Raises Interrupted as it does, and ConfigError or RuntimeError where this machine does not see the same run.
    """
    console.quiet = True  # the first one speaks
    with StopRequest() as stop:
        task = process_group.task()
        if task is None:
            return None
        if torch.cuda.is_available():
            torch.cuda.set_device(process_group.process_index.local_rank)
        config = to_dataclass(OmegaConf.create(task["config"]))
        this = identify(config)
        start = this.folder.latest_checkpoint(at_most=config.trainer.max_steps) or 0
        if (this.name, start) != (task["name"], task["start"]):
            raise RuntimeError(
                f"process {process_group.process_index.rank} sees {this.name} at step {start}, "
                f"the first one {task['name']} at step {task['start']}; all must see the same files"
            )
        prepared = read_encoded(config, this.weights, usable(config, this.found))
        job = build_job(config, this.name, this.folder, this.base, this.weights, this.decision, prepared)
        process_group.ready()
        with process_group.gathered():
            fit(job, [], stop, [], process_index=process_group.process_index)
        return this.folder.root


def main(arguments: list[str]) -> int:
    process_index, port = arguments
    quiet_libraries()
    try:
        run_worker(other(ProcessIndex(*json.loads(process_index)), int(port)))
    except Interrupted as stopped:
        return 128 + stopped.signal_number
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
