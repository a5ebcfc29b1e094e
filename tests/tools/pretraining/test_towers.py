from __future__ import annotations

import json
import math
import unicodedata
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from transformers import CLIPTokenizer

from emote.data.naming import catalogue
from emote.tools.pretraining.towers import MAX_TOKENS, VOCABULARY, make_tokenizer, soft_contrastive, tokenize

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
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokenizer")


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> CLIPTokenizer:
    return make_tokenizer(folder)


def squeezed(text: str) -> str:
    return "".join(unicodedata.normalize("NFC", text).lower().split())


def test_the_tokenizer_is_read_back_as_clips(tokenizer: CLIPTokenizer, folder: Path) -> None:
    read = CLIPTokenizer.from_pretrained(folder)
    names = [name for name, _ in catalogue().values()][::50] + STRANGE
    assert torch.equal(tokenize(read, names), tokenize(tokenizer, names))
    assert (read.model_max_length, read.pad_token_id) == (MAX_TOKENS, read.eos_token_id)


def test_its_files_are_in_clips_layout(tokenizer: CLIPTokenizer, folder: Path) -> None:
    vocabulary = json.loads((folder / "vocab.json").read_text())
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))
    assert len(tokenizer) == len(vocabulary) <= VOCABULARY + 512
    assert list(vocabulary)[-2:] == ["<|startoftext|>", "<|endoftext|>"]
    merges = (folder / "merges.txt").read_text().splitlines()[1:]
    assert merges and all("".join(merge.split(" ")) in vocabulary for merge in merges)


def test_every_emoji_name_round_trips(tokenizer: CLIPTokenizer) -> None:
    names = [name for name, _ in catalogue().values()]
    decoded = tokenizer.batch_decode(tokenizer(names).input_ids, skip_special_tokens=True)
    assert [squeezed(text) for text in decoded] == [squeezed(name) for name in names]


def test_the_words_of_emoji_names_are_few_tokens(tokenizer: CLIPTokenizer) -> None:
    captions = [f"An emoji of {name}, openmoji style" for name, _ in catalogue().values()]
    lengths = [len(ids) for ids in tokenizer(captions).input_ids]
    assert sum(lengths) / len(lengths) < 20
    assert sum(length > MAX_TOKENS for length in lengths) / len(lengths) < 0.01
    assert len(tokenizer("an emoji of a cat").input_ids) == 5 + 2


@pytest.mark.parametrize("text", STRANGE, ids=range(len(STRANGE)))
def test_any_text_becomes_32_known_tokens(tokenizer: CLIPTokenizer, text: str) -> None:
    (ids,) = tokenize(tokenizer, [text]).tolist()
    assert len(ids) == MAX_TOKENS and all(0 <= token < len(tokenizer) for token in ids)
    assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id


def test_unknown_characters_are_told_apart(tokenizer: CLIPTokenizer) -> None:
    assert len({tuple(ids) for ids in tokenize(tokenizer, ["", "猫", "犬", "🦊", "🦝"]).tolist()}) == 5


def test_upper_case_and_more_spaces_mean_the_same(tokenizer: CLIPTokenizer) -> None:
    first, *others = tokenize(tokenizer, ["red apple", "Red  APPLE", " red apple\n"]).tolist()
    assert others == [first, first]


def test_logits_that_say_nothing_cost_the_logarithm_of_the_batch() -> None:
    assert float(soft_contrastive(torch.zeros(4, 4), ["a", "b", "c", "d"])) == pytest.approx(math.log(4))


def test_certain_and_right_answers_cost_nothing() -> None:
    assert float(soft_contrastive(100 * torch.eye(3), ["a", "b", "c"])) == pytest.approx(0, abs=1e-6)


def test_of_distinct_captions_it_is_clips_own_loss() -> None:
    logits, places = torch.randn(5, 5), torch.arange(5)
    expected = (F.cross_entropy(logits, places) + F.cross_entropy(logits.T, places)) / 2
    torch.testing.assert_close(soft_contrastive(logits, list("abcde")), expected)


def test_equal_captions_are_equally_right() -> None:
    same = torch.tensor([[9.0, 9.0, 0.0], [9.0, 9.0, 0.0], [0.0, 0.0, 20.0]])
    loss = float(soft_contrastive(same, ["cat", "cat", "dog"]))
    assert loss == pytest.approx(2 / 3 * math.log(2), abs=1e-3)  # the least that two equal captions can cost
    certain = float(soft_contrastive(torch.tensor([[9.0, 0.0], [0.0, 9.0]]), ["cat", "cat"]))
    assert certain == pytest.approx(math.log(math.exp(9) + 1) - 4.5, abs=1e-4)
