from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from emote.tools.pretraining.parts import load_part, mix_parts, read_bundle, round_to_half, save_part, write_bundle


def test_a_bundle_holds_what_there_is_and_comes_back(tmp_path: Path) -> None:
    parts, bundle = tmp_path / "parts", tmp_path / "bundle"
    (parts / "tokenizer").mkdir(parents=True)
    (parts / "tokenizer" / "vocab.json").write_text("{}")
    write_bundle(parts, bundle)
    assert [path.name for path in bundle.iterdir()] == ["rest.tar"]
    with pytest.raises(FileNotFoundError, match=r"unet\.safetensors, judge\.tar"):
        read_bundle(bundle, tmp_path / "again")
    for name in ("unet", "vae", "text", "vision", "judge_text", "judge_vision"):
        save_part(parts / f"{name}.safetensors", {"weight": torch.full((2,), 0.1)})
    write_bundle(parts, bundle)
    read_bundle(bundle, tmp_path / "again")
    before = {path.relative_to(parts): path.read_bytes() for path in parts.rglob("*") if path.is_file()}
    again = tmp_path / "again"
    assert {p.relative_to(again): p.read_bytes() for p in again.rglob("*") if p.is_file()} == before


def test_what_is_rounded_is_what_the_file_gives_back(tmp_path: Path) -> None:
    model, other = torch.nn.Linear(5, 5), torch.nn.Linear(5, 5)
    fresh = model.weight.clone()
    round_to_half(model)
    assert not torch.equal(fresh, model.weight)
    save_part(tmp_path / "part.safetensors", model.state_dict())
    load_part(other, tmp_path / "part.safetensors")
    assert torch.equal(other.weight, model.weight)


def test_prefixes_that_versions_differ_in_are_dropped(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    save_part(tmp_path / "part.safetensors", {f"text_model.{k}": v for k, v in model.state_dict().items()})
    load_part(torch.nn.Linear(2, 2), tmp_path / "part.safetensors")


def test_weights_are_mixed_by_their_share(tmp_path: Path) -> None:
    save_part(tmp_path / "later.safetensors", {"weight": torch.tensor([1.0, 2.0])})
    save_part(tmp_path / "early.safetensors", {"weight": torch.tensor([5.0, 2.0])})
    mix_parts(tmp_path / "later.safetensors", tmp_path / "early.safetensors", 0.25)
    assert load_file(tmp_path / "later.safetensors")["weight"].tolist() == [2.0, 2.0]
