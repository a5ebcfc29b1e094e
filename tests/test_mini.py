"""The miniature in this repository: it loads like any Stable Diffusion, and knows what its card says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from emote.data.art import art_files
from emote.data.images import Layout, to_pixels
from emote.data.naming import catalogue
from emote.diffusion.generate import generate
from emote.models import components
from emote.tools.pretraining.publish import load_judge
from tests.conftest import ROOT

MINI = ROOT / "weights" / "mini"


@pytest.fixture(scope="module")
def unseen() -> tuple[list[str], torch.Tensor]:
    """60 drawings by OpenMoji, a style that no part has seen: captions, and float32 [60, 3, 128, 128] in [-1, 1]."""
    names = catalogue()
    layout = Layout(resolution=128, margin=0.03)
    files = {code: path for code, path in art_files("openmoji").items() if code in names}
    plain = [code for code in files if "skin tone" not in names[code][0]]
    chosen = plain[:: len(plain) // 60][:60]
    pixels = np.stack([to_pixels(files[code].read_bytes(), layout) for code in chosen])
    captions = [f"An emoji of {names[code][0]}" for code in chosen]
    return captions, torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def test_the_weights_are_small_safe_and_licensed() -> None:
    files = [path for path in MINI.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 36_000_000
    assert max(path.stat().st_size for path in files) < 20_000_000
    assert not [path for path in files if path.suffix in (".bin", ".ckpt", ".pt", ".pkl")]
    assert "license: cc-by-4.0" in (MINI / "README.md").read_text()


def test_a_stock_pipeline_loads_it() -> None:
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(MINI)
    assert pipeline.unet.dtype == torch.float32 and pipeline.scheduler.config.num_train_timesteps == 1000


def test_every_release_of_transformers_cuts_captions_into_the_same_tokens() -> None:
    """Transformers 5 reads tokenizer.json, and 4 the two files beside it: `make test-floors` runs this with 4."""
    from tokenizers import Tokenizer
    from transformers import CLIPTokenizer

    whole = Tokenizer.from_file(str(MINI / "tokenizer" / "tokenizer.json"))
    whole.no_padding()
    names = [name for name, _ in catalogue().values()]
    captions = [f"An emoji of {name}" for name in (*names, "", "NAÏVE  Piñata", "№ 5’s 1234", "😀 it's")]
    expected = [tokens.ids for tokens in whole.encode_batch(captions)]
    for tokenizer in (components.load_tokenizer(MINI), CLIPTokenizer.from_pretrained(MINI / "tokenizer")):
        assert tokenizer(captions).input_ids == expected


def test_images_survive_the_autoencoder(unseen: tuple[list[str], torch.Tensor]) -> None:
    vae = components.load_vae(MINI)
    mean, _ = components.encode_images(vae, unseen[1])
    with torch.no_grad():
        back = vae.decode(mean / vae.config.scaling_factor).sample.clamp(-1, 1)
    assert mean.shape[1:] == (4, 16, 16)
    assert float((back - unseen[1]).abs().mean() / 2) < 0.08  # of 0–1 pixels; a blank sheet is at 0.2
    assert mean.mean(dim=(0, 2, 3)).abs().max() < 0.4
    assert (mean.std(dim=(0, 2, 3)) - 1).abs().max() < 0.4


def test_the_towers_and_the_judge_find_captions_in_an_unseen_style_far_more_often_than_chance(
    unseen: tuple[list[str], torch.Tensor],
) -> None:
    from transformers import CLIPVisionModelWithProjection

    captions, pixels = unseen
    tokenizer = components.load_tokenizer(MINI)
    tokens = components.tokenize(tokenizer, captions)
    projection = load_file(MINI / "image_encoder" / "text_projection.safetensors")["text_projection.weight"].float()
    vision = CLIPVisionModelWithProjection.from_pretrained(MINI / "image_encoder").float().eval()
    judge = load_judge(MINI / "judge", tokenizer)
    with torch.no_grad():
        text = components.load_text_encoder(MINI)(tokens.input_ids).pooler_output @ projection.T
        towers = share_found(vision(pixels).image_embeds, text)
        judged = share_found(judge.embed_images(pixels), judge.embed_text(tokens.input_ids))
    assert towers > 0.2 and judged > 0.5  # chance is 1 in 60


def share_found(images_BD: torch.Tensor, text_BD: torch.Tensor) -> float:
    normalize = torch.nn.functional.normalize
    nearest = (normalize(images_BD, dim=-1) @ normalize(text_BD, dim=-1).T).argmax(dim=1)
    return float((nearest == torch.arange(len(text_BD))).float().mean())


def test_it_draws_a_red_heart_and_a_yellow_face_on_white() -> None:
    tokenizer, encoder = components.load_tokenizer(MINI), components.load_text_encoder(MINI)
    prompts = ["An emoji of red heart", "An emoji of grinning face"]
    embeddings = components.encode_prompts(tokenizer, encoder, [*prompts, ""])
    heart, face = generate(
        components.load_unet(MINI), components.load_vae(MINI), components.load_scheduler(MINI).config,
        embeddings[:2], embeddings[2], [0, 1], resolution=128, inference_steps=15, guidance_scale=4.0,
    )  # fmt: skip
    red, green, blue = np.asarray(heart)[52:76, 52:76].reshape(-1, 3).mean(axis=0)
    assert red > 150 and green < 110 and blue < 110
    red, green, blue = np.asarray(face)[16:32, 48:80].reshape(-1, 3).mean(axis=0)  # the forehead
    assert red > 180 and green > 120 and blue < 140
    for image in (heart, face):
        assert np.asarray(image)[:6, :6].mean() > 235


def test_no_configuration_says_where_it_lay_before() -> None:
    files = list(MINI.rglob("*.json"))
    assert len(files) > 5 and not [file for file in files if "_name_or_path" in file.read_text()]
