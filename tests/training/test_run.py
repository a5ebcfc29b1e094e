"""A run from its configuration to its deliverables, and on from wherever it was stopped."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from emote.config import Config
from emote.training.run import run
from emote.util.errors import ConfigError
from emote.util.interrupt import Interrupted
from tests.conftest import ROOT

Runner = Callable[..., Path]
ADAPTERS = ("pytorch_lora_weights.safetensors", "smoke.safetensors")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def adapters(path: Path) -> list[str]:
    return [digest(path / name) for name in ADAPTERS]


def summary(path: Path) -> dict:
    return json.loads((path / "summary.json").read_text())


def steps_of(path: Path) -> list[int]:
    with open(path / "metrics.csv", newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


def losses_of(path: Path) -> list[str]:
    with open(path / "metrics.csv", newline="") as file:
        return [row["loss"] for row in csv.DictReader(file)]


def validations_of(path: Path) -> list[int]:
    with open(path / "metrics.csv", newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file) if row["validation_loss"]]


def test_a_run_leaves_everything_that_its_summary_names(tiny_run: Runner) -> None:
    path = tiny_run()
    told = summary(path)
    assert path.name == "000006" and path.parent.parent.name == f"smoke-{told['identity']}"
    assert sorted(told["files"]) == sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())
    assert {*ADAPTERS, "samples.png", "loss.png", "metrics.csv", "validation.csv", "config.yaml"} <= set(told["files"])
    assert told["steps_run"] == 6 and told["resumed_from_step"] is None
    assert told["adapter"] == {"rank": 4, "alpha": 4.0, "modules": 32, "parameters": told["adapter"]["parameters"]}
    assert told["validation_loss"]["final"] < told["validation_loss"]["base"]
    assert told["precision"]["frozen"] == "float32" and told["precision"]["reason"]
    assert told["peak_memory_bytes"]["host"] > 0 and told["peak_memory_bytes"]["device"] is None
    assert set(told["seconds"]) == {"cache", "train", "sample", "evaluate", "total"}
    assert steps_of(path) == [1, 2, 3, 4, 5, 6]
    assert Image.open(path / "samples.png").width > 300


def test_the_train_losses_of_the_summary_come_from_metrics_csv(tiny_run: Runner) -> None:
    path = tiny_run()
    mean = sum(map(float, losses_of(path))) / 6
    assert summary(path)["train_loss"]["first_500_mean"] == pytest.approx(mean)


def test_a_finished_run_returns_at_once(tiny_run: Runner, capsys: pytest.CaptureFixture[str]) -> None:
    path = tiny_run()
    before = {p: p.stat().st_mtime_ns for p in path.rglob("*")}
    capsys.readouterr()
    assert tiny_run() == path
    assert "finished already" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in path.rglob("*")} == before


def test_a_shorter_run_after_a_longer_one_equals_one_told_to_stop_there(tiny_run: Runner, tmp_path: Path) -> None:
    tiny_run()
    later = tiny_run(**{"trainer.max_steps": 3})
    first = tiny_run(**{"trainer.max_steps": 3, "run.dir": tmp_path / "other"})
    assert adapters(later) == adapters(first)
    assert losses_of(later) == losses_of(first) and steps_of(later) == [1, 2, 3]
    assert summary(later)["validation_loss"] == summary(first)["validation_loss"]
    assert digest(later / "validation.csv") == digest(first / "validation.csv")
    assert validations_of(later) == validations_of(first) == [3]


def test_a_step_count_between_validations_is_validated_all_the_same(tiny_run: Runner, tmp_path: Path) -> None:
    tiny_run()
    later = tiny_run(**{"trainer.max_steps": 5})
    assert validations_of(later) == [3, 5]
    assert adapters(later) == adapters(tiny_run(**{"trainer.max_steps": 5, "run.dir": tmp_path / "other"}))


def test_asking_for_more_steps_continues_to_the_same_result(tiny_run: Runner, tmp_path: Path) -> None:
    tiny_run(**{"trainer.max_steps": 3})
    continued = tiny_run()
    assert summary(continued)["resumed_from_step"] == 3 and summary(continued)["steps_run"] == 3
    straight = tiny_run(**{"run.dir": tmp_path / "other"})
    assert adapters(continued) == adapters(straight)
    assert losses_of(continued) == losses_of(straight)
    assert (continued.parent / "000003" / "summary.json").exists()


@pytest.mark.parametrize(
    "setting", [{"trainer.max_micro_batch": 2}, {"trainer.max_micro_batch": 1, "lora.dropout": 0.3}]
)
def test_a_run_over_micro_batches_resumes_bit_for_bit(tiny_run: Runner, tmp_path: Path, setting: dict) -> None:
    straight = tiny_run(**setting)
    tiny_run(**setting, **{"trainer.max_steps": 3, "run.dir": tmp_path / "other"})
    resumed = tiny_run(**setting, **{"run.dir": tmp_path / "other"})
    assert adapters(resumed) == adapters(straight)


def test_micro_batches_change_nothing_but_rounding(tiny_run: Runner, tmp_path: Path) -> None:
    whole = load_file(tiny_run() / ADAPTERS[0])
    split = load_file(tiny_run(**{"trainer.max_micro_batch": 1, "run.dir": tmp_path / "other"}) / ADAPTERS[0])
    start = load_file(
        tiny_run(**{"trainer.max_steps": 1, "trainer.learning_rate": 1e-12, "run.dir": tmp_path / "third"})
        / ADAPTERS[0]
    )
    moved = max(float((whole[k] - start[k]).abs().max()) for k in whole)
    apart = max(float((whole[k] - split[k]).abs().max()) for k in whole)
    assert apart < moved / 20


def test_fresh_starts_again_and_keeps_the_old_run(tiny_run: Runner) -> None:
    path = tiny_run()
    first = adapters(path)
    assert adapters(tiny_run(**{"run.fresh": "true"})) == first
    assert (path.parent.parent.with_name(path.parent.parent.name + ".old1") / "steps").exists()


def test_other_prompts_are_drawn_without_training_again(tiny_run: Runner) -> None:
    path = tiny_run()
    before, sheet = adapters(path), digest(path / "samples.png")
    again = tiny_run(**{"callbacks.samples.prompts": "[An emoji of cat]"})
    assert again == path and adapters(path) == before
    assert summary(path)["steps_run"] == 0 and digest(path / "samples.png") != sheet


def test_a_place_that_cannot_be_written_to_is_told_before_anything_is_loaded(tiny_run: Runner, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("no directory")
    with pytest.raises(ConfigError, match=r"run\.dir must be a directory that can be written to, got .*file/runs"):
        tiny_run(**{"run.dir": file / "runs"})


def test_frozen_weights_never_reach_a_checkpoint(tiny_run: Runner) -> None:
    path = tiny_run()
    for saved in (path.parent.parent / "checkpoints").glob("*.ckpt"):
        checkpoint = torch.load(saved, weights_only=True)
        assert all(".lora_A." in name or ".lora_B." in name for name in checkpoint["state_dict"])
        assert "hyper_parameters" not in checkpoint
        assert saved.stat().st_size < 500_000


def test_cached_and_uncached_training_agree(tiny_run: Runner, tmp_path: Path) -> None:
    cached = tiny_run()
    uncached = tiny_run(**{"run.dir": tmp_path / "other", "run.cache_dir": tmp_path / "new-cache"})
    assert adapters(cached) == adapters(uncached)


def test_other_arithmetic_needs_consent_and_is_recorded(tiny_run: Runner) -> None:
    tiny_run(**{"trainer.max_steps": 2})
    with pytest.raises(ConfigError, match=r"run.mixed=true"):
        tiny_run(**{"trainer.max_micro_batch": 2})
    assert summary(tiny_run(**{"trainer.max_micro_batch": 2, "run.mixed": "true"}))["mixed"] is True


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 7},
        {"lora.rank": 2},
        {"data.caption": "'{text}'"},
        {"data.max_items": 23},
        {"trainer.learning_rate": 2e-4},
    ],
)
def test_what_decides_what_is_learned_makes_another_run(tiny_config: Callable[..., Config], change: dict) -> None:
    from emote.data.prepared import scan
    from emote.runs.identity import identity

    one, other = tiny_config(), tiny_config(**change)
    assert identity(one, scan(one.data).identity, {}) != identity(other, scan(other.data).identity, {})


@pytest.mark.parametrize(
    "change",
    [{"trainer.max_steps": 9}, {"name": "other"}, {"trainer.max_micro_batch": 1}, {"callbacks.samples.every_steps": 1}],
)
def test_how_a_run_is_done_is_not_part_of_its_identity(tiny_config: Callable[..., Config], change: dict) -> None:
    from emote.runs.identity import identity

    assert identity(tiny_config(), "data", {}) == identity(tiny_config(**change), "data", {})


def test_a_image_added_to_a_folder_makes_another_run(tiny_run: Runner, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(8):
        Image.new("RGB", (40, 30), (30 * i, 90, 200 - 20 * i)).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"plain colour {i}")
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "broken.txt").write_text("broken")
    setting = {"data.source": "folder", "data.path": folder, "data.caption": "'{text}'", "data.margin": None}
    first = tiny_run(**setting)
    assert [item["name"] for item in summary(first)["skipped_items"]] == ["broken.png"]
    moved = folder.rename(tmp_path / "moved")
    assert tiny_run(**(setting | {"data.path": moved})) == first
    Image.new("RGB", (9, 9), "red").save(moved / "new.png")
    (moved / "new.txt").write_text("red")
    assert tiny_run(**(setting | {"data.path": moved})) != first


def test_a_run_without_held_out_items_or_prompts_works(tiny_run: Runner) -> None:
    path = tiny_run(**{"data.held_out": 0, "callbacks.samples.prompts": "[]"})
    assert summary(path)["validation_loss"] == {"base": None, "final": None}
    assert not (path / "samples.png").exists()


def test_a_signal_saves_and_the_same_command_goes_on(
    tiny_config: Callable[..., Config], tiny_run: Runner, tmp_path: Path
) -> None:
    from emote.util import interrupt

    straight = tiny_run()
    config = tiny_config(**{"run.dir": tmp_path / "other"})
    original = interrupt.StopRequest.defer

    def defer_and_stop(self: interrupt.StopRequest) -> None:
        original(self)
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted) as stopped:
        patch.setattr(interrupt.StopRequest, "defer", defer_and_stop)
        run(config, [])
    assert stopped.value.signal_number == signal.SIGTERM
    saved = next((tmp_path / "other").glob("*/checkpoints/*.ckpt"))
    assert saved.stem == "000001"
    assert adapters(run(config, [])) == adapters(straight)


def command(tiny_sd: Path, where: Path) -> list[str]:
    return [
        sys.executable, str(ROOT / "train.py"), "experiment=smoke", f"model.path={tiny_sd}", "model.resolution=32",
        "data.max_items=24", "trainer.max_steps=40", "hardware=cpu", "callbacks.samples.inference_steps=3",
        "callbacks.checkpoint.every_steps=3", f"run.dir={where}/runs", f"run.cache_dir={where}/cache",
    ]  # fmt: skip


@pytest.mark.slow
def test_killed_at_random_moments_the_result_is_the_same(tiny_sd: Path, tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    began = time.monotonic()
    told = subprocess.run(command(tiny_sd, tmp_path / "a"), env=environment, capture_output=True, text=True, check=True)
    whole = time.monotonic() - began
    straight = Path(told.stdout.strip().splitlines()[-1])
    random.seed(5)
    for _ in range(5):
        process = subprocess.Popen(command(tiny_sd, tmp_path / "b"), env=environment, stdout=subprocess.DEVNULL)
        time.sleep(random.uniform(0.3, 1.0) * whole)
        process.kill()
        process.wait()
    told = subprocess.run(command(tiny_sd, tmp_path / "b"), env=environment, capture_output=True, text=True, check=True)
    resumed = Path(told.stdout.strip().splitlines()[-1])
    assert adapters(resumed) == adapters(straight)
    assert losses_of(resumed) == losses_of(straight) and steps_of(resumed) == list(range(1, 41))


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare (util-linux)")
def test_the_default_path_opens_no_connection(tiny_sd: Path, tmp_path: Path) -> None:
    """In a network namespace without any route, children included."""
    isolated = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    if subprocess.run([*isolated, "true"], capture_output=True).returncode:
        pytest.skip("network namespaces are not allowed here")
    environment = {k: v for k, v in os.environ.items() if k not in ("HF_HUB_OFFLINE", "WANDB_MODE")}
    line = [
        *isolated,
        *command(tiny_sd, tmp_path),
        "callbacks.samples.prompts=[An emoji of cat]",
        "trainer.max_steps=2",
    ]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip().splitlines()[-1]).is_dir()


LCM = {
    "trainer.objective": "lcm", "callbacks.samples.scheduler": "lcm", "callbacks.samples.guidance_scale": 1.0,
    "data.held_out": 0, "trainer.max_steps": 4,
}  # fmt: skip


def test_latent_consistency_resumes_to_the_same_adapter(tiny_run: Runner, tmp_path: Path) -> None:
    whole = tiny_run(**LCM)
    tiny_run(**LCM | {"trainer.max_steps": 2, "run.dir": tmp_path / "other"})
    continued = tiny_run(**LCM | {"run.dir": tmp_path / "other"})
    assert summary(continued)["steps_run"] == 2 and adapters(continued) == adapters(whole)
