from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emote.config import Config
from emote.inference.options import Options
from emote.inference.plan import plan_images
from emote.inference.resolve_adapter import ADAPTER_FILE, Adapter, adapters_with_hash, find_adapter, list_adapters
from emote.lora.formats import read_metadata
from emote.models.presets import model_named
from emote.training.artifacts import write_config
from emote.util.errors import ConfigError
from tests.inference.conftest import NAME, model_config, write_step


@pytest.fixture
def own_runs(runs: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(runs, tmp_path / "runs"))


def refused(run: str, runs: Path, **changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        find_adapter(run, runs, **changes)
    return str(caught.value)


@pytest.mark.parametrize(
    "run", ["latest", NAME, "tiny", "0123", "0123456789ab", f"{NAME}/20", "tiny/20", "tiny/000020", "01/20"]
)
def test_a_run_is_found_by_all_its_names(runs: Path, run: str) -> None:
    adapter = find_adapter(run, runs)
    assert adapter.file == runs / NAME / "steps" / "000020" / "pytorch_lora_weights.safetensors"
    assert (adapter.label, adapter.name) == (f"{NAME}/20", "tiny")


def test_a_run_is_found_by_its_folder_a_step_s_and_its_files(runs: Path) -> None:
    step = runs / NAME / "steps" / "000020"
    for path in (runs / NAME, step, step / "pytorch_lora_weights.safetensors", step / "tiny.safetensors"):
        assert find_adapter(str(path), Path("elsewhere")).label == f"{NAME}/20"
    assert find_adapter(str(runs / NAME / "steps" / "000010"), runs).label == f"{NAME}/10"
    assert find_adapter("tiny/10", runs).file.parent.name == "000010"


def test_what_the_run_knows_comes_with_it(adapter: Adapter, tiny_sd: Path) -> None:
    assert (adapter.resolution, adapter.guidance_scale, adapter.prompts) == (32, 4.0, ("A cat, openmoji",))
    assert (adapter.caption, adapter.background) == ("A {text}, openmoji", "white")
    assert adapter.base == model_config(tiny_sd).__class__(
        path=str(tiny_sd), revision=None, variant=None, resolution=32, resolution_multiple=4, config=None
    )
    assert "CC BY-SA 4.0" in adapter.licence and str(tiny_sd.parent) not in adapter.licence


def test_a_configuration_as_training_writes_it_is_read(own_runs: Path, make_config: Callable[..., Config]) -> None:
    step = own_runs / NAME / "steps" / "000020"
    write_config(make_config("experiment=quickstart"), step / "config.yaml")
    adapter = find_adapter("latest", own_runs)
    assert adapter.caption == "An emoji of {text}" and len(adapter.prompts) == 12
    assert (adapter.base.path, adapter.resolution, adapter.guidance_scale) == ("weights/mini", 128, 6.0)
    assert adapter.licence == "CC BY-SA 4.0 (OpenMoji); CC BY 4.0 (the miniature)"


def test_the_strength_that_a_run_drew_with_is_what_others_draw_with(
    own_runs: Path, make_config: Callable[..., Config]
) -> None:
    step = own_runs / NAME / "steps" / "000020"
    write_config(make_config("experiment=quickstart", **{"callbacks.samples.lora_scale": 0.7}), step / "config.yaml")
    assert find_adapter("latest", own_runs).lora_scale == 0.7
    for said, used in ({}, 0.7), ({"lora_scale": 0.2}, 0.2), ({"compare": True}, 0.7):
        plan = plan_images(Options(prompts=["fox"], runs_dir=str(own_runs), output=str(own_runs / "out"), **said))
        assert plan.shots[-1].request.lora_scale == used
    assert find_adapter(f"{NAME}/10", own_runs).lora_scale == 1.0  # of before it was recorded


def test_another_base_model_can_be_asked_for(runs: Path) -> None:
    assert find_adapter("tiny", runs, model_named("mini")).base.path == "weights/mini"


def test_a_best_adapter_is_found_by_its_label_too(own_runs: Path) -> None:
    step = own_runs / NAME / "steps" / "000020"
    shutil.copytree(step, step / "best-at-step-10", ignore=shutil.ignore_patterns("*.yaml", "*.json"))
    adapter = find_adapter(str(step / "best-at-step-10"), own_runs)
    assert (adapter.label, adapter.resolution) == (f"{NAME}/best-at-step-10", 32)
    assert find_adapter(adapter.label, own_runs) == adapter


def test_the_hash_is_the_one_that_a1111_shows(adapter: Adapter, runs: Path) -> None:
    header = read_metadata(adapter.file.with_name("tiny.safetensors"))
    assert adapter.short_hash == header["sshs_model_hash"][:12]
    assert [found.label for found in adapters_with_hash(adapter.short_hash, runs)] == [f"{NAME}/20"]
    assert list(adapters_with_hash("0" * 12, runs)) == []


def test_finished_runs_are_listed_the_newest_first(own_runs: Path, tiny_sd: Path) -> None:
    write_step(own_runs / "other-ffff00000000", 5, tiny_sd, 0.1)
    os.utime(own_runs / NAME / "steps" / "000020" / "summary.json", (1e9, 1e9))
    os.utime(own_runs / NAME / "steps" / "000010" / "summary.json", (1e9, 1e9))
    (own_runs / "unfinished-aaaa00000000" / "checkpoints").mkdir(parents=True)
    broken = write_step(own_runs / "broken-bbbb00000000", 5, tiny_sd, 0.1)
    (broken / "config.yaml").write_text("lora: {")
    assert [adapter.label for adapter in list_adapters(own_runs)] == ["other-ffff00000000/5", f"{NAME}/20"]
    assert list_adapters(own_runs / "none") == []


def test_what_is_not_there_is_said_with_what_is(runs: Path, tmp_path: Path) -> None:
    assert refused("tyny", runs) == (
        f"run=tyny is not a run in {runs}, an adapter file or a Hub name; did you mean tiny? finished runs: {NAME}"
    )
    assert refused("", runs).startswith("run must name a run")
    assert refused("tiny/15", runs) == f"run={NAME}/15 names no finished step count; there are 10, 20"
    for run in ("latest", "anything"):
        assert "experiment=smoke makes one" in refused(run, tmp_path)


def test_a_name_of_several_runs_is_refused(own_runs: Path, tiny_sd: Path) -> None:
    write_step(own_runs / "tiny-ffff00000000", 5, tiny_sd, 0.1)
    assert f"2 runs in {own_runs}; use one of {NAME}, tiny-ffff00000000" in refused("tiny", own_runs)
    assert find_adapter("ffff", own_runs).label == "tiny-ffff00000000/5"


def test_a_hub_name_whose_owner_is_called_like_a_run_is_no_run(
    runs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for run in ("tiny/style", "0123/style"):
        assert refused(run, runs).startswith(f"run={run} is not on this machine, and the Hub cannot be reached")


def test_a_run_that_has_not_finished_is_told_apart(own_runs: Path) -> None:
    (own_runs / "begun-cccc00000000" / "checkpoints").mkdir(parents=True)
    assert "has no finished step count yet" in refused("begun-cccc00000000", own_runs)


def test_a_file_on_its_own_needs_to_be_told_its_base_model(runs: Path, tmp_path: Path, tiny_sd: Path) -> None:
    file = tmp_path / "style.safetensors"
    shutil.copy(runs / NAME / "steps" / "000020" / "tiny.safetensors", file)
    assert "run=style does not say which base model it was trained on" in refused(str(file), runs)
    adapter = find_adapter(str(file), runs, model_config(tiny_sd))
    assert (adapter.label, adapter.name, adapter.resolution, adapter.caption) == ("style", "style", 32, None)


def test_files_that_are_no_adapters_are_refused(tmp_path: Path, tiny_sd: Path, own_runs: Path) -> None:
    (tmp_path / "junk.safetensors").write_bytes(b"junk" * 100)
    assert "junk.safetensors" in refused(str(tmp_path / "junk.safetensors"), tmp_path)
    weights = tiny_sd / "unet" / "diffusion_pytorch_model.safetensors"
    assert "whole model" in refused(str(weights), tmp_path)
    step = own_runs / NAME / "steps" / "000020"
    for text in ("lora: {}\nname: x\n", "lora: {"):
        (step / "config.yaml").write_text(text)
        assert "cannot be read" in refused("tiny", own_runs)
        assert len(refused("tiny", own_runs).splitlines()) == 1
    (step / "pytorch_lora_weights.safetensors").unlink()
    assert "has no pytorch_lora_weights.safetensors" in refused("tiny", own_runs)


def test_a_path_that_is_not_there_is_no_hub_name(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emote.inference.resolve_adapter._of_hub", lambda *_: pytest.fail("asked the Hub"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loras").mkdir()
    shutil.copy(runs / NAME / "steps" / "000020" / "tiny.safetensors", tmp_path / "loras" / "style.safetensors")
    assert "is not there; did you mean loras/style.safetensors?" in refused("loras/stile.safetensors", runs)
    assert "there is no directory nowhere" in refused("nowhere/style.safetensors", runs)
    assert "is not there" in refused(str(tmp_path / "away"), runs)
    (tmp_path / "empty" / "deep").mkdir(parents=True)
    assert "is a directory without an adapter" in refused("empty/deep", runs)


def test_an_adapter_file_may_be_called_anything(
    runs: Path, tmp_path: Path, tiny_sd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("UP.SAFETENSORS", "style", "style.safetensors.download", "tiny"):
        shutil.copy(runs / NAME / "steps" / "000020" / ADAPTER_FILE, name)
    model = model_config(tiny_sd)
    for name in ("UP.SAFETENSORS", "style", "style.safetensors.download"):
        assert find_adapter(name, runs, model).file == Path(name)
    assert find_adapter("tiny", runs, model).label == f"{NAME}/20"  # the run
    Path("link.safetensors").symlink_to("gone.safetensors")
    assert refused("link.safetensors", runs).startswith(
        "run=link.safetensors is a link to gone.safetensors, which is not there;"
    )


def test_a_directory_with_one_adapter_is_enough(runs: Path, tmp_path: Path, tiny_sd: Path) -> None:
    shutil.copy(runs / NAME / "steps" / "000020" / "tiny.safetensors", tmp_path / "style.safetensors")
    adapter = find_adapter(str(tmp_path), runs, model_config(tiny_sd))
    assert adapter.file == tmp_path / "style.safetensors"
    shutil.copy(tmp_path / "style.safetensors", tmp_path / "other.safetensors")
    assert "has 2 safetensors files; name one of other.safetensors, style.safetensors" in refused(str(tmp_path), runs)
    for file in tmp_path.glob("*.safetensors"):
        file.unlink()
    (tmp_path / "adapter_model.bin").write_bytes(b"PK\x03\x04" + bytes(80))
    assert "can run code" in refused(str(tmp_path), runs)


def test_summaries_of_another_shape_do_not_matter(own_runs: Path) -> None:
    (own_runs / NAME / "steps" / "000020" / "summary.json").write_text(json.dumps([]))
    assert find_adapter("latest", own_runs).label == f"{NAME}/20"
