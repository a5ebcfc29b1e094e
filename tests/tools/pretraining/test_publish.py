from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image

from emote.tools.pretraining import publish
from emote.tools.pretraining.publish import replace_decoder
from tests.conftest import ROOT


def test_another_decoder_leaves_all_other_parts_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "draw_sheet", lambda *parts: Image.new("RGB", (8, 8)))  # takes a minute
    mini = ROOT / "weights" / "mini"
    facts = json.loads((mini / "metrics.json").read_text(encoding="utf-8"))
    facts["note"] = "The decoder was trained further."
    facts["stages"]["vae_decoder"] = facts["stages"]["vae"]
    vae = AutoencoderKL.from_pretrained(mini / "vae").float()
    with torch.no_grad():
        vae.decoder.conv_out.bias += 0.5
    replace_decoder(mini, tmp_path / "mini", vae, facts, Image.new("RGB", (8, 8)))
    made_anew = {"samples.png", "reconstructions.png", "metrics.json", "README.md"}
    for file in (path for path in mini.rglob("*") if path.is_file()):
        other = tmp_path / "mini" / file.relative_to(mini)
        assert other.exists()
        assert other.read_bytes() == file.read_bytes() or file.name in made_anew or file.parent.name == "vae"
    again = AutoencoderKL.from_pretrained(tmp_path / "mini" / "vae")
    assert torch.equal(again.encoder.conv_in.weight, vae.encoder.conv_in.weight)
    assert torch.equal(again.decoder.conv_out.bias, vae.decoder.conv_out.bias)
    card = (tmp_path / "mini" / "README.md").read_text(encoding="utf-8")
    assert facts["note"] in card and "seen by the autoencoder's decoder" in card
    assert not list(tmp_path.glob(".*"))
