"""The captioner, on a BLIP that is built here: it says nonsense, always the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from emote.commands.data.caption import main
from emote.tools.captioner import load_captioner
from tests.exports import drawing

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "a", "red", "cat", "dog", "with", "hat", "."]


@pytest.fixture(scope="module")
def tiny_blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import transformers
    from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipProcessor

    # the plain name needs torchvision since version 5
    image_processor = getattr(transformers, "BlipImageProcessorPil", None) or transformers.BlipImageProcessor

    folder = tmp_path_factory.mktemp("blip")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    tokenizer = BertTokenizer(str(folder / "vocab.txt"))
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = BlipConfig(
            text_config={**size, "vocab_size": len(WORDS), "bos_token_id": 5, "sep_token_id": 3, "pad_token_id": 0,
                         "eos_token_id": 3, "encoder_hidden_size": 16, "projection_dim": 16},
            vision_config={**size, "image_size": 32, "patch_size": 16, "projection_dim": 16},
            projection_dim=16, image_text_hidden_size=16,
        )  # fmt: skip
        model = BlipForConditionalGeneration(config)
    model.save_pretrained(folder)
    BlipProcessor(image_processor(size={"height": 32, "width": 32}), tokenizer).save_pretrained(folder)
    return folder


def test_captions_are_written_beside_images_that_have_none(tiny_blip: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("one.png", "two.webp", "told.png")):
        drawing(number, 32).save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
    (tmp_path / "told.txt").write_text("a person's words")
    (tmp_path / "broken.png").write_bytes(b"x")
    assert main([f"path={tmp_path}", f"model={tiny_blip}", "device=cpu", "batch=2"]) == 1  # one was broken
    assert {path.name for path in tmp_path.glob("*.txt")} == {"one.txt", "two.txt", "told.txt"}
    assert (tmp_path / "told.txt").read_text() == "a person's words"
    written = (tmp_path / "one.txt").read_text().strip()
    assert re.findall(r"[a-z]+", written.replace("[DEC]", "")) and set(re.findall(r"[a-z]+", written)) <= set(WORDS)
    assert written == load_captioner(str(tiny_blip))([_flat(tmp_path / "one.png")])[0]


def _flat(path: Path) -> Image.Image:
    image = Image.open(path)
    flat = Image.new("RGB", image.size, "white")
    flat.paste(image, mask=image.getchannel("A"))
    return flat


@pytest.mark.parametrize(
    ("words", "message"),
    [(["path=nowhere"], "path must be a directory"), (["path=."], "holds no images"),
     (["path={images}", "model=/nowhere"], "cannot be loaded as a captioner"), (["pth=x"], "did you mean path=")],
)  # fmt: skip
def test_mistakes_are_told(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    drawing(1, 32).save(tmp_path / "images/cat.png")
    if words == ["path=."]:
        (tmp_path / "images/cat.png").unlink()
    assert main([word.format(images=tmp_path / "images") for word in words]) == 2
    assert message in capsys.readouterr().err
