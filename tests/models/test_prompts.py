from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

from emote.models import components
from emote.models.conditioning import pack
from emote.models.prompts import PromptEncoder, cut_captions

CAPTIONS = ["An emoji of cat", "", "An emoji of a caption that is longer than the tokenizer has room for"]


def test_one_text_encoder_gives_what_the_pipeline_gives(tiny_sd: Path) -> None:
    theirs, _ = StableDiffusionPipeline.from_pretrained(tiny_sd).encode_prompt(CAPTIONS, "cpu", 1, True)
    assert torch.equal(PromptEncoder(tiny_sd)(CAPTIONS), theirs)


def test_two_text_encoders_give_what_the_pipeline_gives(tiny_sdxl: Path) -> None:
    pipeline = StableDiffusionXLPipeline.from_pretrained(tiny_sdxl)
    words, no_words, pooled, no_pooled = pipeline.encode_prompt(CAPTIONS)
    ours = PromptEncoder(tiny_sdxl)(CAPTIONS)
    assert ours.shape == (3, 33, 40)
    assert torch.equal(ours[[0, 2]], pack(words, pooled)[[0, 2]])
    assert torch.equal(ours[1], pack(no_words, no_pooled)[1]) and not ours[1].any()


def test_the_empty_caption_is_encoded_where_the_model_does_not_ask_for_zeros(tiny_sdxl: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(tiny_sdxl, tmp_path / "xl"))
    index = json.loads((other / "model_index.json").read_text())
    (other / "model_index.json").write_text(json.dumps(index | {"force_zeros_for_empty_prompt": False}))
    pipeline = StableDiffusionXLPipeline.from_pretrained(other)
    words, _, pooled, _ = pipeline.encode_prompt([""])
    ours = PromptEncoder(other)([""])
    assert torch.equal(ours, pack(words, pooled)) and ours.any()
    prints = [components.fingerprint(path, "text_encoder") for path in (tiny_sdxl, other)]
    assert prints[0] != prints[1]  # so that neither reads the other one's cache


@pytest.mark.parametrize("part", ["text_encoder", "text_encoder_2"])
def test_what_turns_captions_into_embeddings_has_one_fingerprint(tiny_sdxl: Path, tmp_path: Path, part: str) -> None:
    other = Path(shutil.copytree(tiny_sdxl, tmp_path / "xl"))
    assert components.fingerprint(other, "text_encoder") == components.fingerprint(tiny_sdxl, "text_encoder")
    config = json.loads((other / part / "config.json").read_text())
    (other / part / "config.json").write_text(json.dumps(config | {"hidden_act": "relu"}))
    assert components.fingerprint(other, "text_encoder") != components.fingerprint(tiny_sdxl, "text_encoder")


def test_captions_that_are_too_long_are_found_with_what_is_read(tiny_sd: Path) -> None:
    tokenizer = components.load_tokenizer(tiny_sd)
    long = "cat " * 40
    limit, kept = cut_captions(tokenizer, ["cat", long, long + "red"])
    assert limit == tokenizer.model_max_length - 2 and set(kept) == {long, long + "red"}
    assert len(set(kept.values())) == 1
    encoder = PromptEncoder(tiny_sd)
    assert torch.equal(encoder([long]), encoder([kept[long]])) and torch.equal(encoder([long]), encoder([long + "red"]))
