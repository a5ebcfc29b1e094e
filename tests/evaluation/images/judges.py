"""A judge in small: a CLIP that loads as those of the Hub do, with random weights, in a YAML file of its own."""

from __future__ import annotations

from pathlib import Path

import torch
import yaml

from tests.conftest import build_tiny_tokenizer


def build_tiny_judge(directory: Path, side_px: int = 32) -> Path:
    """Write a CLIP, always the same, and return the YAML file that names it."""
    from transformers import CLIPConfig, CLIPModel

    towers = directory / "towers"
    tokenizer = build_tiny_tokenizer(towers)
    tokenizer.save_pretrained(towers)
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}
    text = {
        "vocab_size": len(tokenizer), "max_position_embeddings": tokenizer.model_max_length,
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    vision = {"image_size": side_px, "patch_size": side_px // 4}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(22)
        clip = CLIPModel(CLIPConfig(text_config=tower | text, vision_config=tower | vision, projection_dim=12))
    clip.save_pretrained(towers, safe_serialization=True)
    file = directory / "tiny.yaml"
    told = {"towers": str(towers), "eye": None, "caption": "A {text}", "away": ["two boxes", "a hill"]}
    file.write_text(yaml.safe_dump(told))
    return file
