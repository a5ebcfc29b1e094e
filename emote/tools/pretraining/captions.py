"""The tokenizer, and every caption of every emoji as token ids, so that training draws captions by index."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from emote.tools.pretraining.art_set import STYLES, ArtSet
from emote.tools.pretraining.loop import Draw
from emote.tools.pretraining.wordings import FORMS, write_caption

MAX_TOKENS = 32
VOCABULARY = 3000
NAME_SHARE = 0.5  # of the captions use the name itself, the rest one of its other wordings
STYLED_SHARE = 0.5
FORM_SHARES = (0.2, 0.4, 0.4)


def make_tokenizer(folder: Path, wordings: Mapping[str, Sequence[str]]) -> CLIPTokenizer:
    """A byte-pair tokenizer in CLIP's format (vocab.json, merges.txt, tokenizer.json), learned from the wordings."""
    tokenizer = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(
                Regex(r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"), "removed", invert=True
            ),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
        min_frequency=1,
    )
    frame = ["an emoji of a", *(f"{style} style" for style in STYLES)] * 500
    texts = sorted({text for name, others in wordings.items() for text in (name, *others)})
    tokenizer.train_from_iterator(frame + texts, trainer)
    learned = json.loads(tokenizer.to_str())["model"]
    # CLIP's layout: every byte, every byte at a word's end, the merged pieces, then the two special tokens
    pieces = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    pieces += [token for token in learned["vocab"] if token not in set(pieces)]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = json.dumps({piece: i for i, piece in enumerate(pieces)}, ensure_ascii=False)
    merges = "\n".join(["#version: 0.2", *(" ".join(pair) for pair in learned["merges"]), ""])
    (folder / "vocab.json").write_text(vocabulary, encoding="utf-8")
    (folder / "merges.txt").write_text(merges, encoding="utf-8")
    made = CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=MAX_TOKENS, pad_token="<|endoftext|>"
    )
    made.save_pretrained(folder)
    # transformers 5 writes tokenizer.json alone; other tools read these two
    (folder / "vocab.json").write_text(vocabulary, encoding="utf-8")
    (folder / "merges.txt").write_text(merges, encoding="utf-8")
    return CLIPTokenizer.from_pretrained(folder)


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> torch.Tensor:
    """Token ids [B, MAX_TOKENS]."""
    return tokenizer(
        captions, padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt"
    ).input_ids


@dataclass
class CaptionTable:
    """Token ids of all captions: ids_CT, one row for each (wording, form, style or none).

    first_N, count_N: for each emoji name, its first wording's number and how many it has.
    A caption's row is (wording · len(FORMS) + form) · (1 + len(styles)) + 1 + style, or + 0 without a style.
    """

    ids_CT: torch.Tensor
    first_N: torch.Tensor
    count_N: torch.Tensor
    shares: torch.Tensor

    def rows(self, names_B: torch.Tensor, styles_B: torch.Tensor, draw: Draw) -> torch.Tensor:
        """One caption for each drawing; `styles_B` is the index into STYLES, -1 for a caption without style."""
        count = len(names_B)
        others = (self.count_N[names_B] - 1).clamp(min=0)
        other = 1 + (draw.uniform(count) * others).long().clamp(max=(others - 1).clamp(min=0))
        wording = torch.where((draw.uniform(count) < NAME_SHARE) | (others == 0), 0, other)
        form = draw.choice(self.shares, count)
        return self.row(self.first_N[names_B] + wording, form, styles_B)

    @staticmethod
    def row(wording: torch.Tensor, form: torch.Tensor | int, style: torch.Tensor | int) -> torch.Tensor:
        return (wording * len(FORMS) + form) * (1 + len(STYLES)) + 1 + style

    def plain_rows(self, names: torch.Tensor) -> torch.Tensor:
        """The captions "An emoji of <name>"."""
        return self.row(self.first_N[names], 1, -1)

    def to(self, device: torch.device) -> CaptionTable:
        return CaptionTable(*(value.to(device) for value in vars(self).values()))


def build_captions(art: ArtSet, tokenizer: CLIPTokenizer) -> CaptionTable:
    """Tokenize what captions are made of once and join the pieces: words never merge with their neighbours."""
    wordings = [wording for name in art.names for wording in art.wordings[name]]
    counts = torch.tensor([len(art.wordings[name]) for name in art.names])
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    pieces = tokenizer(wordings, add_special_tokens=False).input_ids
    tails = [[], *(tokenizer(f", {style} style", add_special_tokens=False).input_ids for style in STYLES)]
    heads = {
        (form, article): tokenizer(FORMS[form].format("", article=article).strip(), add_special_tokens=False).input_ids
        for form in range(len(FORMS))
        for article in ("a", "an")
    }
    rows = np.full((len(wordings) * len(FORMS) * len(tails), MAX_TOKENS), eos, dtype=np.int16)
    i = 0
    for wording, piece in zip(wordings, pieces, strict=True):
        article = "an" if wording[:1].lower() in "aeiou" else "a"
        for form in range(len(FORMS)):
            for tail in tails:
                ids = [bos, *heads[form, article], *piece, *tail][: MAX_TOKENS - 1]
                rows[i, : len(ids)] = ids
                i += 1
    return CaptionTable(torch.from_numpy(rows), counts.cumsum(0) - counts, counts, torch.tensor(FORM_SHARES))


def caption_texts(art: ArtSet, name: str) -> list[str]:
    """The captions of one name in the table's order, for tests and for a look."""
    return [
        write_caption(wording, form, style)
        for wording in art.wordings[name]
        for form in range(len(FORMS))
        for style in (None, *STYLES)
    ]


def draw_styles(styles_B: torch.Tensor, draw: Draw, share: float = STYLED_SHARE) -> torch.Tensor:
    """The style a caption names: the drawing's own for a share of them, -1 (none) for the rest."""
    return torch.where(draw.uniform(len(styles_B)) < share, styles_B, -1)
