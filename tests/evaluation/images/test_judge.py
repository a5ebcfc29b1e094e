from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from emote.evaluation.images.judge import JUDGES, ImageJudge, judge_named, judge_of, load_towers
from emote.util.errors import ConfigError
from tests.conftest import build_tiny_tokenizer
from tests.evaluation.images.drawings import blobs
from tests.evaluation.images.judges import build_tiny_judge


@pytest.fixture(scope="session")
def tiny_judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_judge(tmp_path_factory.mktemp("judge"))


@pytest.mark.parametrize("name", sorted(path.stem for path in JUDGES.glob("*.yaml")))
def test_every_file_of_conf_names_a_judge(name: str) -> None:
    config = judge_named(name)
    assert config.towers and len(config.away) >= 20 and len(set(config.away)) == len(config.away)


def test_images_and_names_become_unit_vectors_in_one_space(tiny_judge: Path) -> None:
    judge = ImageJudge(judge_named(str(tiny_judge)))
    images, names = judge.embed_images(blobs(3)), judge.embed_names(["cat", "dog"])
    assert images.shape == (3, 12) and names.shape == (2, 12)
    assert np.allclose(np.linalg.norm(images, axis=1), 1) and np.allclose(np.linalg.norm(names, axis=1), 1)
    assert np.allclose(judge.embed_likeness(blobs(3)), images)


def test_names_are_put_into_the_words_that_the_tower_was_taught(tiny_judge: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump(yaml.safe_load(tiny_judge.read_text()) | {"caption": "{text}"}))
    bare, framed = ImageJudge(judge_named(str(other))), ImageJudge(judge_named(str(tiny_judge)))
    assert np.allclose(bare.embed_names(["A cat"]), framed.embed_names(["cat"]))


def test_another_model_may_compare_images(tmp_path: Path, tiny_judge: Path) -> None:
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)
    Dinov2Model(config).save_pretrained(tmp_path / "eye", safe_serialization=True)
    file = tmp_path / "both.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(tiny_judge.read_text()) | {"eye": str(tmp_path / "eye")}))
    judge = ImageJudge(judge_named(str(file)))
    assert judge.embed_likeness(blobs(2)).shape == (2, 16) and judge.embed_images(blobs(2)).shape == (2, 12)


def test_the_miniatures_judge_needs_no_network() -> None:
    judge = ImageJudge(judge_named("mini"))
    similar = judge.embed_images(blobs(2)) @ judge.embed_names(["red circle", "blue square", "cat"]).T
    assert similar.shape == (2, 3) and np.isfinite(similar).all()


@pytest.mark.parametrize(
    ("name", "said"), [("mimi", "did you mean mini?"), ("", "got nothing"), ("gone.yaml", "got gone.yaml")]
)
def test_a_judge_that_is_not_there_is_told(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
        judge_named(name)


def test_a_file_without_a_key_is_told(tmp_path: Path) -> None:
    (tmp_path / "half.yaml").write_text("towers: x\n")
    with pytest.raises(ConfigError, match="must have the keys away, caption, eye, towers"):
        judge_named(str(tmp_path / "half.yaml"))


def test_towers_that_cannot_be_had_are_told(tmp_path: Path) -> None:
    (tmp_path / "far.yaml").write_text("towers: owner/far\neye: null\ncaption: '{text}'\naway: [a hill]\n")
    with pytest.raises(ConfigError, match="owner/far is not on this machine and cannot be fetched"):
        ImageJudge(judge_named(str(tmp_path / "far.yaml")))
    (tmp_path / "none.yaml").write_text("towers: nowhere\neye: null\ncaption: '{text}'\naway: [a hill]\n")
    with pytest.raises(ConfigError, match="nowhere is no folder here and no Hub name"):
        ImageJudge(judge_named(str(tmp_path / "none.yaml")))


def test_a_base_models_own_judge_is_preferred(tmp_path: Path) -> None:
    from safetensors.torch import save_file
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, ResNetConfig, ResNetModel

    tokenizer = build_tiny_tokenizer(tmp_path / "tokenizer")
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=tokenizer.model_max_length, projection_dim=12, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    CLIPTextModelWithProjection(text).save_pretrained(tmp_path / "judge" / "text")
    vision = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    ResNetModel(vision).save_pretrained(tmp_path / "judge" / "vision")
    save_file({"visual_projection.weight": torch.randn(12, 16)}, tmp_path / "judge" / "projection.safetensors")
    (tmp_path / "image_encoder").mkdir()  # what the text encoder of the base model was taught with
    towers = load_towers(str(tmp_path), torch.device("cpu"))
    images, names = towers.embed_images(blobs(3)), towers.embed_texts(["cat", "dog"])
    assert images.shape == (3, 12) and names.shape == (2, 12)
    assert torch.allclose(images.norm(dim=1), torch.ones(3)) and torch.allclose(names.norm(dim=1), torch.ones(2))


def test_the_miniature_has_its_own_judge() -> None:
    assert (judge_of("weights/mini"), judge_of("stable-diffusion-v1-5/stable-diffusion-v1-5")) == ("mini", "sd15")
