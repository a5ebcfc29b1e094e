"""Captions to what the UNet is conditioned on: by one text encoder, or by XL's two."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from emote.models.components import Device, encode_prompts, load_text_encoder, load_tokenizer, tokenize
from emote.models.conditioning import pack


class PromptEncoder:
    """The frozen text encoders of a base model, in float32. Raises ConfigError where they cannot be loaded whole.

    tokenizer: of the first encoder; XL's second one cuts text in the same places.
    encoders: by their names in a pipeline.
    """

    def __init__(self, path: Path, device: Device = "cpu", *, variant: str | None = None) -> None:
        self.tokenizer = load_tokenizer(path)
        self._first = load_text_encoder(path, torch.float32, device, variant=variant)
        self.encoders: dict[str, nn.Module] = {"text_encoder": self._first}
        self._second: tuple[CLIPTokenizer, CLIPTextModelWithProjection] | None = None
        self._empty_is_zero = False
        if (Path(path) / "text_encoder_2").is_dir():
            second = load_text_encoder(path, torch.float32, device, variant=variant, part="text_encoder_2")
            self._second = load_tokenizer(path, "tokenizer_2"), second
            self.encoders["text_encoder_2"] = second
            index = json.loads((Path(path) / "model_index.json").read_text(encoding="utf-8"))
            self._empty_is_zero = bool(index.get("force_zeros_for_empty_prompt", True))

    def __call__(self, captions: list[str]) -> torch.Tensor:
        """[B, T, D] for B captions; [B, T + 1, D] for XL (see `conditioning`).

        XL's are the states before the last layer, as `StableDiffusionXLPipeline.encode_prompt` has them; its empty
        caption is all zeros where the model says `force_zeros_for_empty_prompt`, as it was trained.
        """
        if self._second is None:
            return encode_prompts(self.tokenizer, self._first, captions)
        words, _ = _penultimate(self.tokenizer, self._first, captions)
        more_words, pooled_BP = _penultimate(*self._second, captions)
        packed = pack(torch.cat([words, more_words], dim=-1), pooled_BP)
        if self._empty_is_zero:
            packed[[row for row, caption in enumerate(captions) if not caption]] = 0
        return packed


@torch.no_grad()
def _penultimate(
    tokenizer: CLIPTokenizer, encoder: CLIPTextModel | CLIPTextModelWithProjection, captions: list[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """(hidden states before the last layer [B, T, D], the first output: with a projection, the pooled one [B, P])."""
    tokens = tokenize(tokenizer, captions)
    found = encoder(tokens.input_ids.to(encoder.device), output_hidden_states=True)
    return found.hidden_states[-2], found[0]


def cut_captions(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> tuple[int, dict[str, str]]:
    """Return how many tokens of a caption are read, and of each caption that is longer, what is read of it."""
    limit = int(tokenizer.model_max_length) - 2  # the first and the last are marks
    kept: dict[str, str] = {}
    for first in range(0, len(captions), 1024):  # a set may have very many
        part = list(captions[first : first + 1024])
        tokens = tokenizer(part, add_special_tokens=False, truncation=False, verbose=False).input_ids
        kept |= {
            caption: str(tokenizer.decode(ids[:limit])).strip()
            for caption, ids in zip(part, tokens, strict=True)
            if len(ids) > limit
        }
    return limit, kept
