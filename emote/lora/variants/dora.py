"""DoRA: LoRA on the direction of a weight, and its magnitude learned beside it (arXiv 2402.09353)."""

from __future__ import annotations

from typing import Any

from emote.config import LoraConfig


def peft_settings(lora: LoraConfig) -> dict[str, Any]:
    return {"use_dora": True}
