from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
import torch
from transformers import CLIPTokenizer

from emote.tools.pretraining.art_set import STYLES, ArtSet
from emote.tools.pretraining.captions import (
    MAX_TOKENS,
    CaptionTable,
    build_captions,
    caption_texts,
    draw_styles,
    make_tokenizer,
    tokenize,
)
from emote.tools.pretraining.loop import draw_at
from emote.tools.pretraining.wordings import FORMS, write_caption

STRANGE = [
    "",
    "🧑🏽‍🚀",
    "ʘ‿ʘ",
    "قطة",
    "猫",
    "\u200b",
    "a\x00b",
    "NAÏVE Piñata",
    "12345",
    "!!!",
    "x" * 500,
    "cat " * 100,
]


@pytest.fixture(scope="module")
def tokenizer(art: ArtSet, work: Path) -> CLIPTokenizer:
    return make_tokenizer(work / "tokenizer", art.wordings)


@pytest.fixture(scope="module")
def captions(art: ArtSet, tokenizer: CLIPTokenizer) -> CaptionTable:
    return build_captions(art, tokenizer)


def test_the_table_holds_what_tokenizing_each_caption_gives(
    art: ArtSet, tokenizer: CLIPTokenizer, captions: CaptionTable
) -> None:
    texts = [text for name in art.names for text in caption_texts(art, name)]
    assert len(texts) == len(captions.ids_CT)
    assert torch.equal(tokenize(tokenizer, texts), captions.ids_CT.long())


def test_a_drawn_caption_is_one_of_its_name_and_style(
    art: ArtSet, tokenizer: CLIPTokenizer, captions: CaptionTable
) -> None:
    draw = draw_at(0, 0, torch.device("cpu"))
    names = torch.arange(len(art.names)).repeat(3000)
    for style in (-1, 1):
        rows = captions.rows(names, torch.full_like(names, style), draw)
        for i, name in enumerate(art.names):
            wanted = {
                write_caption(wording, form, None if style < 0 else STYLES[style])
                for wording in art.wordings[name]
                for form in range(len(FORMS))
            }
            texts = caption_texts(art, name)
            first = int(captions.first_N[i]) * len(FORMS) * (1 + len(STYLES))
            assert {texts[int(row) - first] for row in rows[names == i]} == wanted


def test_half_of_the_captions_name_the_style() -> None:
    styles = torch.full((4000,), 2)
    said = draw_styles(styles, draw_at(0, 0, torch.device("cpu")))
    assert set(said.tolist()) == {-1, 2} and abs(float((said == 2).float().mean()) - 0.5) < 0.03


def test_the_tokenizers_files_are_in_clips_layout_and_read_back(
    art: ArtSet, tokenizer: CLIPTokenizer, work: Path
) -> None:
    folder = work / "tokenizer"
    assert {"vocab.json", "merges.txt", "tokenizer.json"} <= {path.name for path in folder.iterdir()}
    vocabulary = json.loads((folder / "vocab.json").read_text())
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))
    assert list(vocabulary)[-2:] == ["<|startoftext|>", "<|endoftext|>"]
    from_pieces = CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=MAX_TOKENS, pad_token="<|endoftext|>"
    )
    assert torch.equal(tokenize(from_pieces, [*art.names, *STRANGE]), tokenize(tokenizer, [*art.names, *STRANGE]))


def test_every_name_round_trips(art: ArtSet, tokenizer: CLIPTokenizer) -> None:
    def squeezed(text: str) -> str:
        return "".join(unicodedata.normalize("NFC", text).lower().split())

    decoded = tokenizer.batch_decode(tokenizer(art.names).input_ids, skip_special_tokens=True)
    assert [squeezed(text) for text in decoded] == [squeezed(name) for name in art.names]


@pytest.mark.parametrize("text", STRANGE, ids=range(len(STRANGE)))
def test_any_text_becomes_32_known_tokens(tokenizer: CLIPTokenizer, text: str) -> None:
    (ids,) = tokenize(tokenizer, [text]).tolist()
    assert len(ids) == MAX_TOKENS and all(0 <= token < len(tokenizer) for token in ids)
    assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
