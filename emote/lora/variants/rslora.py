"""Rank-stabilised LoRA: W + (alpha / √rank) B A, so that large ranks learn as fast (arXiv 2312.03732)."""

from __future__ import annotations

from typing import Any

from emote.config import LoraConfig


def peft_settings(lora: LoraConfig) -> dict[str, Any]:
    return {"use_rslora": True}
