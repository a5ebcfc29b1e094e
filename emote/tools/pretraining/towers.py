"""Stage 2: a small CLIP, contrastively on emoji and their names, with a tokenizer of its own.

The text tower then conditions the UNet, frozen, as Stable Diffusion's does; the whole pair serves evaluation.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from emote.data.naming import catalogue
from emote.tools.pretraining.art_set import ArtSet, to_unit, write_caption
from emote.tools.pretraining.loop import Losses, fit

MAX_TOKENS = 32
BATCH = 128
VOCABULARY = 2600


def make_tokenizer(folder: Path) -> CLIPTokenizer:
    """A byte-pair tokenizer in CLIP's format (vocab.json, merges.txt), learned from emoji names."""
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
    names = [text for name, aliases in catalogue().values() for text in (name, *aliases)]
    frame = ["an emoji of a", "openmoji style", "twemoji style"] * 500
    tokenizer.train_from_iterator(frame + names, trainer)
    learned = json.loads(tokenizer.to_str())["model"]
    # CLIP's layout: every byte, every byte at a word's end, the merged pieces, then the two special tokens
    pieces = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    pieces += [token for token in learned["vocab"] if token not in set(pieces)]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}, ensure_ascii=False))
    merges = [" ".join(pair) for pair in learned["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    made = CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=MAX_TOKENS, pad_token="<|endoftext|>"
    )
    made.save_pretrained(folder)
    return CLIPTokenizer.from_pretrained(folder)


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> torch.Tensor:
    """Token ids [B, MAX_TOKENS]."""
    return tokenizer(
        captions, padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt"
    ).input_ids


def build_clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    tower = {"hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 4, "num_hidden_layers": 4}
    special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    return CLIPModel(
        CLIPConfig(
            text_config=tower
            | special
            | {
                "vocab_size": len(tokenizer),
                "max_position_embeddings": MAX_TOKENS,
                "pad_token_id": tokenizer.eos_token_id,
                "projection_dim": 128,
            },
            vision_config=tower | {"image_size": 64, "patch_size": 8, "projection_dim": 128},
            projection_dim=128,
        )
    )


def train_towers(art: ArtSet, tokenizer: CLIPTokenizer, work: Path, steps: int, seed: int) -> CLIPModel:
    torch.manual_seed(seed)
    clip = build_clip(tokenizer)
    clip.set_attn_implementation("eager")  # four times as fast as torch's fused attention in bf16 on CPUs

    def losses_at(step: int, generator: torch.Generator) -> Losses:
        chosen = torch.multinomial(art.weight.clamp(min=0.3), BATCH, generator=generator)
        captions = [write_caption(art.names[i], art.aliases[i], art.style[i], generator) for i in chosen.tolist()]
        # the vision tower sees small shifts, so that it does not know an image by its pixels
        images = F.pad(to_unit(art.pixels[chosen]), (4, 4, 4, 4), value=1.0)
        top, left = torch.randint(9, (2,), generator=generator).tolist()
        images = images[:, :, top : top + 64, left : left + 64]
        with torch.autocast("cpu", torch.bfloat16):
            output = clip(input_ids=tokenize(tokenizer, captions), pixel_values=images)
        return {"contrastive": soft_contrastive(output.logits_per_text.float(), captions)}

    ema = fit("towers", clip, losses_at, steps=steps, learning_rate=1e-3, work=work, seed=seed, weight_decay=0.05)
    clip.load_state_dict(ema)
    clip.set_attn_implementation("sdpa")
    return clip.requires_grad_(False).eval()


def soft_contrastive(logits_BB: torch.Tensor, captions: list[str]) -> torch.Tensor:
    """CLIP's symmetric cross-entropy; equal captions are equally right answers."""
    same = torch.tensor([[a == b for b in captions] for a in captions], dtype=torch.float32)
    target = same / same.sum(dim=1, keepdim=True)
    return (F.cross_entropy(logits_BB, target) + F.cross_entropy(logits_BB.T, target)) / 2
