from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from transformers import CLIPTokenizer

from emote.tools.pretraining.art_set import ArtSet, to_unit
from emote.tools.pretraining.captions import build_captions, make_tokenizer
from emote.tools.pretraining.parts import load_part, save_part
from emote.tools.pretraining.publish import load_pairs
from emote.tools.pretraining.towers import build_judge, build_towers, calibrate, concept_ranks, soft_contrastive


@pytest.fixture(scope="module")
def tokenizer(art: ArtSet, work: Path) -> CLIPTokenizer:
    return make_tokenizer(work / "towers_tokenizer", art.wordings)


def test_logits_that_say_nothing_cost_the_logarithms_of_both_sides() -> None:
    right = torch.eye(4, 6, dtype=torch.bool)
    assert float(soft_contrastive(torch.zeros(4, 6), right, 4)) == pytest.approx((math.log(6) + math.log(4)) / 2)


def test_of_distinct_captions_it_is_clips_own_loss() -> None:
    logits, places = torch.randn(5, 5), torch.arange(5)
    expected = (F.cross_entropy(logits, places) + F.cross_entropy(logits.T, places)) / 2
    torch.testing.assert_close(soft_contrastive(logits, torch.eye(5, dtype=torch.bool), 5), expected)


def test_several_right_captions_share_the_answer() -> None:
    right = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    same = torch.tensor([[9.0, 9.0, -9.0], [9.0, 9.0, -9.0], [-9.0, -9.0, 20.0]])
    assert float(soft_contrastive(same, right, 3)) == pytest.approx(2 / 3 * math.log(2), abs=1e-3)


def test_ranks_count_variants_of_a_concept_once(
    art: ArtSet, tokenizer: CLIPTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An eye that sees each drawing's own name is right; one that sees another name ranks it behind."""
    captions, pair = build_captions(art, tokenizer), build_towers(tokenizer).eval()
    rows = art.rows_of("openmoji")
    names, concepts = art.name_N[rows], art.concept_N[rows]
    texts = pair.embed_text(captions.ids_CT[captions.plain_rows(names)])
    monkeypatch.setattr(pair, "embed_images", lambda images: texts)
    assert concept_ranks(pair, art, captions, rows).tolist() == [0] * len(rows)
    other = torch.arange(len(rows)).roll(1)
    monkeypatch.setattr(pair, "embed_images", lambda images: texts[other])
    same = concepts == concepts[other]  # "astronaut" and "man astronaut" are one concept
    assert bool(((concept_ranks(pair, art, captions, rows) == 0) == same).all()) and bool((~same).any())


def test_both_pairs_come_back_from_their_files(art: ArtSet, tokenizer: CLIPTokenizer, tmp_path: Path) -> None:
    images = to_unit(art.rgba_N4HW[:3])
    expected = []
    for pair, text, vision in (
        (build_towers(tokenizer), "text", "vision"), (build_judge(tokenizer), "judge_text", "judge_vision"),
    ):  # fmt: skip
        calibrate(pair, [images])
        pair.eval().requires_grad_(False)
        save_part(tmp_path / f"{text}.safetensors", pair.text.state_dict())
        state = {**pair.vision.state_dict(), "logit_scale": pair.logit_scale}
        save_part(tmp_path / f"{vision}.safetensors", state)
        expected.append(pair.embed_images(images))
    for pair, embeds in zip(load_pairs(tmp_path, tokenizer), expected, strict=True):
        torch.testing.assert_close(pair.embed_images(images), embeds, atol=2e-2, rtol=0)


def test_a_part_of_another_model_is_refused(tokenizer: CLIPTokenizer, tmp_path: Path) -> None:
    save_part(tmp_path / "text.safetensors", {"something": torch.zeros(1)})
    with pytest.raises(RuntimeError, match="names differ"):
        load_part(build_towers(tokenizer).text, tmp_path / "text.safetensors")


def test_calibrating_gives_batch_normalisation_the_batches_own_means(tokenizer: CLIPTokenizer, art: ArtSet) -> None:
    judge = build_judge(tokenizer)
    layer = next(module for module in judge.modules() if isinstance(module, torch.nn.BatchNorm2d))
    seen: list[torch.Tensor] = []
    layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    calibrate(judge, [to_unit(art.rgba_N4HW[:4]), to_unit(art.rgba_N4HW[4:8])])
    torch.testing.assert_close(layer.running_mean, torch.cat(seen).mean(dim=(0, 2, 3)), atol=1e-5, rtol=1e-4)
