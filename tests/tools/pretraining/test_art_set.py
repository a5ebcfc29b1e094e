from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from emote.data.naming import catalogue, concept_of
from emote.tools.pretraining import art_set
from emote.tools.pretraining.art_pack import ArtPack, read_art_pack, thin_out, write_art_pack
from emote.tools.pretraining.art_set import TONE_WEIGHT, ArtSet, balance, held_out_drawings, load_art, to_unit


def test_a_pack_is_read_back_as_it_was(pack: ArtPack, tmp_path: Path) -> None:
    write_art_pack(tmp_path / "art.json.xz", pack)
    assert read_art_pack(tmp_path / "art.json.xz") == pack


def test_a_thin_pack_has_some_names_in_all_styles_and_those_asked_for(pack: ArtPack) -> None:
    thin = thin_out(pack, 1000, besides=("cat",))
    names = {drawing.name for drawing in thin.drawings}
    assert "cat" in names and len(names) == 2
    assert len(thin.drawings) == 6


def test_drawings_are_counted_by_style_name_and_concept(art: ArtSet) -> None:
    assert art.rgba_N4HW.shape == (21, 4, 128, 128) and art.rgba_N4HW.dtype == torch.uint8
    assert len(art.rows_of("openmoji")) == 6 and len(art.rows_of("openmoji", tones=True)) == 7
    same = {art.concepts[int(c)] for c, n in zip(art.concept_N, art.name_N, strict=True) if "astronaut" in art.names[n]}
    assert same == {"astronaut"}


def test_unseen_styles_and_held_out_drawings_are_never_trained(art: ArtSet) -> None:
    unseen = art.rows_of("openmoji", tones=True)
    assert not bool(art.trained_N[unseen].any()) and not bool((art.weight_N[unseen] > 0).any())
    assert not bool((art.trained_N & art.held_out_N).any())


def test_held_out_drawings_belong_to_concepts_that_another_style_shows() -> None:
    concepts = sorted({concept_of(name) for name, _ in catalogue().values()})
    pairs = [(style, concept) for style in ("twemoji", "noto", "fluent") for concept in concepts for _ in range(2)]
    pairs += [("openmoji", concept) for concept in concepts] + [("noto", "in one style alone")]
    held = held_out_drawings(pairs)
    chosen = [pair for pair, is_held in zip(pairs, held.tolist(), strict=True) if is_held]
    assert 0.06 < len(set(chosen)) / len(concepts) < 0.14
    assert len({concept for _, concept in chosen}) == len(set(chosen)) == len(chosen) / 2  # one style, all variants
    assert {style for style, _ in chosen} == {"twemoji", "noto", "fluent"}
    assert torch.equal(held, held_out_drawings(pairs))
    assert not any(held[-len(concepts) - 1 :].tolist())


def test_a_concept_with_many_drawings_counts_as_their_square_root() -> None:
    concept, tone = torch.tensor([0, 0, 0, 0, 1, 1]), torch.tensor([False] * 5 + [True])
    trained = torch.ones(6, dtype=torch.bool)
    weights = balance(concept, tone, trained)
    assert float(weights[:4].sum()) == pytest.approx(2)
    assert float(weights[5] / weights[4]) == pytest.approx(TONE_WEIGHT)
    trained[0] = False
    assert balance(concept, tone, trained).tolist()[:2] == pytest.approx([0, 3**-0.5])


def test_pictures_lie_over_any_background(art: ArtSet) -> None:
    white, red = to_unit(art.rgba_N4HW[:1]), to_unit(art.rgba_N4HW[:1], torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1))
    assert white[0, :, 0, 0].tolist() == [1, 1, 1] and red[0, :, 0, 0].tolist() == [1, -1, -1]
    opaque = art.rgba_N4HW[0, 3] == 255
    assert bool(opaque.any()) and torch.equal(white[0][:, opaque], red[0][:, opaque])
    assert len(white.unique()) > 5


def test_arrays_are_kept_and_read_back(pack: ArtPack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = replace(pack, drawings=pack.drawings[:3])
    first = load_art(few, tmp_path, 1)
    [stored] = tmp_path.iterdir()
    np.save(stored, 255 - np.load(stored))
    assert torch.equal(load_art(few, tmp_path, 1).rgba_N4HW, 255 - first.rgba_N4HW)
    monkeypatch.setattr(art_set, "MARGIN", 0.1)  # another layout is another file
    assert not torch.equal(load_art(few, tmp_path, 1).rgba_N4HW, 255 - first.rgba_N4HW)
