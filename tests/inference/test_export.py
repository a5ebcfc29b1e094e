"""`emote export` as its user meets it: words in, a table or a file out, and an exit code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from emote.cli.keywords import run_command
from emote.inference.export import Export, export
from emote.inference.resolve_adapter import find_adapter
from emote.lora.adapter_file import read_adapter
from emote.lora.formats import read_metadata, save_diffusers, save_kohya
from tests.lora.adapter_files import Trap, cut_off, dora, kohya_with_text, lycoris, published, some_tensors
from tests.lora.tools import peft, relative
from tests.models.helpers import answer, fresh_unet, learn, lora_config

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """(exit code, stdout, stderr) of the script with these words."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: str) -> tuple[int, str, str]:
        code = run_command(Export, export, "Export.", list(words))
        return code, *capsys.readouterr()

    return call


def trained(tiny_sd: Path, **changes: Any) -> Any:
    from emote.lora.adapter import attach

    unet = fresh_unet(tiny_sd)
    attach(unet, lora_config(**changes))
    learn(unet)
    return unet


@pytest.fixture
def finished(tiny_sd: Path, tmp_path: Path, make_config: Any) -> Path:
    """The folder of runs with one finished run, trained on the tiny Stable Diffusion."""
    step = tmp_path / "runs" / "tiny-0123456789ab" / "steps" / "000010"
    step.mkdir(parents=True)
    unet = trained(tiny_sd, alpha=2.0)
    save_diffusers(unet, step, lora_config(alpha=2.0))
    save_kohya(unet, step / "tiny.safetensors", lora_config(alpha=2.0), {"ss_steps": "10"})
    config = make_config("experiment=smoke", **{"model.path": str(tiny_sd), "name": "tiny"})
    OmegaConf.save(OmegaConf.structured(config), step / "config.yaml")
    (step / "summary.json").write_text("{}")
    return tmp_path / "runs"


def row(out: str, name: str) -> str:
    return next(line.removeprefix(name).strip() for line in out.splitlines() if line.startswith(f"{name} "))


def test_both_files_of_a_run_are_told(run: Run, finished: Path) -> None:
    step = finished / "tiny-0123456789ab" / "steps" / "000010"
    for name, kind in (("pytorch_lora_weights.safetensors", "diffusers"), ("tiny.safetensors", "kohya")):
        code, out, _ = run(f"run={step / name}")
        assert code == 0
        assert row(out, "format").startswith(kind)
        assert (row(out, "rank"), row(out, "alpha"), row(out, "numbers")) == ("4", "2", "float32")
        assert row(out, "layers") == "UNet 32"
        assert row(out, "tensors") == "all belong to layers"
        assert row(out, "base") == "no base known by its shapes"
    assert row(out, "says of itself") == "steps 10; title tiny"
    code, named, _ = run("run=tiny", f"runs_dir={finished}", "to=check")
    assert code == 0 and row(named, "format").startswith("diffusers")


def test_a_published_file_is_told(run: Run, tmp_path: Path) -> None:
    code, out, _ = run(f"run={published(tmp_path / 'x.safetensors')}")
    assert code == 0
    assert row(out, "base") == "Stable Diffusion 1"
    assert (row(out, "layers"), row(out, "rank"), row(out, "numbers")) == ("UNet 128", "4", "bfloat16")
    assert row(out, "alpha") == "not stored, so read as the rank"
    assert row(out, "read by") == "diffusers; for ComfyUI and A1111 set to=kohya"


def test_a_kohya_file_with_a_text_encoder_is_told(run: Run, tmp_path: Path) -> None:
    code, out, _ = run(f"run={kohya_with_text(tmp_path / 'x.safetensors')}")
    assert code == 0
    assert row(out, "layers") == "UNet 2, text encoder 3"
    assert row(out, "rank") == "4 (4), 2 (1)"
    assert "steps 1200; learning rate 1e-4" in row(out, "says of itself")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lycoris, "is a LyCORIS file (LoHa), which is not supported"),
        (dora, "is a DoRA"),
        (some_tensors, "is no adapter"),
    ],
)
def test_what_cannot_be_used_is_told_with_the_reason(run: Run, tmp_path: Path, make: Any, words: str) -> None:
    code, out, err = run(f"run={make(tmp_path / 'x.safetensors')}")
    assert code == 2
    assert row(out, "format")
    assert words in err and err.count("\n") == 1


def test_a_pickle_is_refused_unread_and_a_cut_off_file_is_named(run: Run, tmp_path: Path) -> None:
    torch.save({"weights": Trap(tmp_path / "touched")}, tmp_path / "x.ckpt")
    code, out, err = run(f"run={tmp_path / 'x.ckpt'}")
    assert (code, out) == (2, "") and "was not read" in err
    assert not (tmp_path / "touched").exists()
    part = cut_off(tmp_path / "part.safetensors", kohya_with_text(tmp_path / "x.safetensors"))
    code, out, err = run(f"run={part}")
    assert (code, out) == (2, "") and "is cut off" in err


def test_what_a_file_says_of_itself_cannot_write_to_the_terminal(run: Run, tmp_path: Path) -> None:
    tensors = load_file(kohya_with_text(tmp_path / "x.safetensors"))
    save_file(tensors, tmp_path / "y.safetensors", {"modelspec.title": "\x1b[2J[red]" + "long " * 100})
    _, out, _ = run(f"run={tmp_path / 'y.safetensors'}")
    assert "\x1b" not in out and "[red]" in out and "long " * 30 not in out


def test_a_runs_kohya_file_keeps_the_facts_of_its_training(run: Run, finished: Path, tmp_path: Path) -> None:
    code, out, _ = run("run=tiny", f"runs_dir={finished}", "to=kohya", f"output={tmp_path / 'out'}")
    assert code == 0
    assert out.split(" (")[0] == str(tmp_path / "out" / "tiny.safetensors")
    assert read_metadata(tmp_path / "out" / "tiny.safetensors")["ss_steps"] == "10"


def test_diffusers_to_kohya_to_diffusers_is_the_same_file(run: Run, finished: Path, tmp_path: Path) -> None:
    there = finished / "tiny-0123456789ab" / "steps" / "000010" / "pytorch_lora_weights.safetensors"
    assert run(f"run={there}", "to=kohya", f"output={tmp_path / 'k.safetensors'}")[0] == 0
    assert run(f"run={tmp_path / 'k.safetensors'}", "to=diffusers", f"output={tmp_path / 'back'}")[0] == 0
    assert (tmp_path / "back" / there.name).read_bytes() == there.read_bytes()


def test_a_smaller_rank_says_what_it_costs(run: Run, finished: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.safetensors"
    code, out, _ = run("run=tiny", f"runs_dir={finished}", "to=kohya", "rank=2", "dtype=fp16", f"output={small}")
    assert code == 0
    assert "rank 4 → 2 and dtype fp16: " in out and "% of ΔW is lost" in out and "most in unet." in out
    assert {tensor.dtype for tensor in load_file(small).values()} == {torch.float16}
    code, out, _ = run(
        "run=tiny", f"runs_dir={finished}", "to=kohya", "rank=9", f"output={tmp_path / 'same.safetensors'}"
    )
    assert code == 0 and "nothing is lost" in out


@pytest.mark.parametrize("output", ["merged", "merged.safetensors"])
def test_a_run_is_merged_into_its_own_base(
    run: Run, finished: Path, tiny_sd: Path, tmp_path: Path, output: str
) -> None:
    from diffusers import StableDiffusionPipeline

    code, out, err = run("run=tiny", f"runs_dir={finished}", "to=fuse", f"output={tmp_path / output}")
    assert (code, err) == (0, "") and out.startswith(str(tmp_path / output))
    if output == "merged":
        pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / output)
    else:
        pipeline = StableDiffusionPipeline.from_single_file(str(tmp_path / output), config=str(tiny_sd))
    assert torch.allclose(answer(pipeline.unet), answer(trained(tiny_sd, alpha=2.0)), atol=1e-4)


def test_a_run_that_was_evaluated_is_fused_as_trained_and_its_recommended_strength_is_told(
    run: Run, finished: Path, tmp_path: Path
) -> None:
    adapter = find_adapter("tiny", finished)
    facts = {"format": 1, "adapter_hash": adapter.short_hash}
    recommended = {"lora_scale": 0.75, "guidance_scale": None, "reason": "it is best"}
    adapter.file.with_name("evaluation.json").write_text(json.dumps(facts | {"recommended": recommended}))
    words = ("run=tiny", f"runs_dir={finished}", "to=fuse")
    code, out, _ = run(*words, f"output={tmp_path / 'merged.safetensors'}")
    assert code == 0 and "its evaluation recommends lora_scale=0.75" in out
    code, out, _ = run(*words, f"output={tmp_path / 'other.safetensors'}", "lora_scale=0.75")
    assert code == 0 and "recommends" not in out


def test_a_file_of_nobody_knows_what_base_is_merged_into_the_one_that_is_named(
    run: Run, tiny_sd: Path, tmp_path: Path
) -> None:
    file = save_kohya(trained(tiny_sd), tmp_path / "x.safetensors", lora_config(), {})
    code, _, err = run(f"run={file}", "to=fuse", f"output={tmp_path / 'merged'}")
    assert code == 2 and "set model=" in err
    assert run(f"run={file}", "to=fuse", f"output={tmp_path / 'merged'}", f"model={tiny_sd}")[0] == 0
    assert (tmp_path / "merged" / "model_index.json").is_file()


def test_nothing_is_written_of_a_file_that_holds_what_is_not_understood(run: Run, tmp_path: Path) -> None:
    tensors = load_file(kohya_with_text(tmp_path / "x.safetensors"))
    save_file(tensors | {"lora_te3_block.lora_down.weight": torch.zeros(1, 1)}, tmp_path / "y.safetensors")
    for target in ("check", "diffusers", "kohya", "fuse"):
        words = [f"output={tmp_path / 'out'}"] if target != "check" else []
        code, _, err = run(f"run={tmp_path / 'y.safetensors'}", f"to={target}", *words)
        assert code == 2 and "layers that no Stable Diffusion has" in err and "lora_te3_block.lora_down.weight" in err
    assert not (tmp_path / "out").exists()


def test_who_reads_a_file_with_mixed_alphas_is_said(run: Run, tmp_path: Path) -> None:
    tensors = load_file(kohya_with_text(tmp_path / "x.safetensors"))
    assert row(run(f"run={tmp_path / 'x.safetensors'}")[1], "read by").startswith("diffusers, kohya's scripts")
    name = next(name for name in tensors if name.startswith("lora_unet_") and name.endswith(".alpha"))
    save_file(tensors | {name: torch.tensor(0.25)}, tmp_path / "y.safetensors")
    told = row(run(f"run={tmp_path / 'y.safetensors'}")[1], "read by")
    assert "diffusers misreads" in told and "to=diffusers" in told


def test_peft_s_directory_is_told_without_a_base_model(run: Run, tmp_path: Path) -> None:
    of = {"unet.mid_block.attentions.0.proj_in": (torch.ones(4, 8), torch.ones(8, 4))}
    code, out, _ = run(f"run={peft(of, tmp_path)}")
    assert code == 0 and row(out, "format").startswith("peft") and row(out, "alpha") == "2"
    (tmp_path / "adapter_config.json").unlink()
    assert row(run(f"run={tmp_path}")[1], "alpha") == "not stored, so read as the rank"


def test_a_smaller_rank_in_float32_is_rounded_nowhere(run: Run, tmp_path: Path) -> None:
    tensors = {
        name: tensor.bfloat16() for name, tensor in load_file(kohya_with_text(tmp_path / "x.safetensors")).items()
    }
    save_file(tensors, tmp_path / "b.safetensors")
    out = tmp_path / "small.safetensors"
    assert run(f"run={tmp_path / 'b.safetensors'}", "to=kohya", "rank=2", "dtype=float32", f"output={out}")[0] == 0
    for name, layer in read_adapter(out).layers.items():
        whole = read_adapter(tmp_path / "b.safetensors").layers[name]
        exact = whole.scale * (whole.up.double() @ whole.down.double())
        u, s, v = torch.linalg.svd(exact)
        best = (u[:, :2] * s[:2]) @ v[:2]
        assert relative(layer.scale * (layer.up.double() @ layer.down.double()), best) < 1e-6


def test_words_that_do_not_go_together_are_all_told(run: Run, tmp_path: Path) -> None:
    code, _, err = run("run=x", "to=check", "rank=2", "dtype=fp16", "model=mini", "lora_scale=0.5")
    assert code == 2
    for rule in (
        "rank= is not for to=check",
        "dtype= is not for to=check",
        "model= is for",
        "scale= is for",
        "4 mistakes",
    ):
        assert rule in err
    assert "output= is missing" in run("run=x", "to=kohya")[2]


def test_what_is_there_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    file = kohya_with_text(tmp_path / "x.safetensors")
    before = file.read_bytes()
    for words in ([f"output={file}"], [f"output={tmp_path}"]):
        code, _, err = run(f"run={file}", "to=kohya", *words)
        assert code == 2 and "is there already" in err
    shutil.copytree(tmp_path, tmp_path / "merged")
    assert "is there already" in run(f"run={file}", "to=fuse", f"output={tmp_path / 'merged'}")[2]
    assert file.read_bytes() == before
