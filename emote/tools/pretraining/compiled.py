"""Whether `torch.compile` makes the UNet's training step faster on this machine, tried in a process of its own.

    python -m emote.tools.pretraining.compiled <result.json> <device> <dtype> <batch>

Compiling takes a minute or so and may fail; beside the training's earlier stages it costs nothing, and what it
compiled stays in torch's cache on disk, from which the training takes it where the result says that it pays.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from emote.util.files import write_json

MIN_GAIN = 1.15  # times as fast, or compiling is not worth its risk
MAX_ERROR = 0.05  # of the largest output: bfloat16 kernels differ by about a hundredth
Forward = Callable[..., torch.Tensor]


def compile_forward(model: torch.nn.Module) -> Forward:
    """The UNet's forward as a compiled function of (latents, timesteps, context)."""

    def forward(latents: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        return model(latents, timesteps, context, return_dict=False)[0]

    return torch.compile(forward, dynamic=False)


def start_trial(result: Path, device: str, dtype: torch.dtype, batch: int) -> subprocess.Popen[bytes]:
    """Start the trial in the background; `pays` reads its result."""
    result.unlink(missing_ok=True)
    name = str(dtype).removeprefix("torch.")
    command = [sys.executable, "-m", "emote.tools.pretraining.compiled", str(result), device, name, str(batch)]
    log = open(result.with_suffix(".log"), "wb")  # noqa: SIM115, the process keeps it
    return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=Path(__file__).parents[3])


def pays(result: Path, trial: subprocess.Popen[bytes]) -> tuple[bool, dict[str, float]]:
    """Whether the trial ended, computed the same, and was faster; and its figures. Ends a trial that still runs."""
    if trial.poll() is None:
        trial.kill()
        trial.wait()
    if not result.exists():
        return False, {}
    found = json.loads(result.read_text())
    good = found["error"] < MAX_ERROR and found["finite"] and found["eager_s"] > MIN_GAIN * found["compiled_s"]
    return bool(good), found


def run_trial(result: Path, device: torch.device, dtype: torch.dtype, batch: int) -> None:
    from emote.tools.pretraining.unet import build_unet

    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")  # as the training does: what is compiled depends on it
    unet = build_unet().to(device, dtype).train()
    latents = torch.randn(batch, 4, 16, 16, device=device, dtype=dtype)
    timesteps = torch.randint(1000, (batch,), device=device)
    context = torch.randn(batch, 32, 128, device=device, dtype=dtype)

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    def step(forward: Forward) -> torch.Tensor:
        output = forward(latents, timesteps, context)
        output.float().square().mean().backward()
        return output.detach().float()

    def time_of(forward: Forward, count: int = 5) -> float:
        step(forward)
        times = []
        for _ in range(count):
            unet.zero_grad(set_to_none=True)
            wait()
            began = time.perf_counter()
            step(forward)
            wait()
            times.append(time.perf_counter() - began)
        return sorted(times)[count // 2]

    def eager(*inputs: torch.Tensor) -> torch.Tensor:
        return unet(*inputs, return_dict=False)[0]

    expected = step(eager)
    began = time.perf_counter()
    forward = compile_forward(unet)
    unet.zero_grad(set_to_none=True)
    found = step(forward)
    wait()
    compile_s = time.perf_counter() - began
    finite = all(bool(p.grad.isfinite().all()) for p in unet.parameters() if p.grad is not None)
    figures = {
        "compile_s": compile_s,
        "error": float((found - expected).abs().max() / expected.abs().max()),
        "finite": finite,
        "compiled_s": time_of(forward),
        "eager_s": time_of(eager),
        "batch": batch,
    }
    write_json(result, figures)
    print(figures, flush=True)


if __name__ == "__main__":
    run_trial(Path(sys.argv[1]), torch.device(sys.argv[2]), getattr(torch, sys.argv[3]), int(sys.argv[4]))
