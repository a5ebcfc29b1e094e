"""Plain LoRA: W + (alpha / rank) B A (arXiv 2106.09685)."""

from __future__ import annotations

from typing import Any

from emote.config import LoraConfig


def peft_settings(lora: LoraConfig) -> dict[str, Any]:
    return {}
