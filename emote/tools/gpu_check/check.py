"""What only a GPU can show, of Stable Diffusion 1.5 with random weights: checked, printed and written down."""

from __future__ import annotations

import time
from pathlib import Path

from emote.config import Accelerator
from emote.tools.gpu_check.findings import CheckConfig, as_markdown, findings
from emote.util.errors import ConfigError
from emote.util.files import write_text
from emote.util.quiet import quiet_libraries

WOULD_CHECK = (
    "this check needs a CUDA GPU and this machine has none\n"
    "it would train Stable Diffusion 1.5 with random weights in half precision and see whether\n"
    "  losses and adapter stay finite under loss scaling\n"
    "  the peak of memory stays below the cap\n"
    "  attention runs in a fused kernel, and which\n"
    "and write seconds a step and memory beside their estimates"
)


def check_gpu(config: CheckConfig) -> int:
    """Check, print and write; 0 where everything held, 1 where something did not. Raises ConfigError without a GPU."""
    import torch  # late, with all that rests on it: `--help` is instant

    if not torch.cuda.is_available():
        raise ConfigError(WOULD_CHECK)
    quiet_libraries()
    from emote.models.precision import decide
    from emote.models.single_file import PUBLISHED
    from emote.runs.environment import cap_gpu_memory, device_name
    from emote.tools.gpu_check.steps import measure

    decision = decide(config.precision, Accelerator.cuda)
    cap_gpu_memory(config.memory_gb)
    began = time.perf_counter()
    measured = measure(config, decision, PUBLISHED / "sd15")
    found = findings(config, measured)
    where = f"{device_name(decision.device)}, {str(decision.frozen).removeprefix('torch.')}"
    text = as_markdown(config, where, measured, found, time.perf_counter() - began)
    print(text)
    path = Path(config.output)
    write_text(path, (path.read_text(encoding="utf-8") if path.exists() else "# Measured on GPUs\n") + "\n" + text)
    return 0 if all(held for _, held in found) else 1
