from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from emote.util.errors import ConfigError
from emote.util.tensor_file import content_hash, look, write_streamed, write_tensors
from tests.lora.adapter_files import Trap, cut_off

TENSORS = {
    "b": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "a": torch.tensor(0.5, dtype=torch.bfloat16),
    "c": torch.arange(5, dtype=torch.int64),
    "odd": torch.ones(3, dtype=torch.float16),
    "transposed": torch.arange(6.0).reshape(2, 3).T,
}


def test_the_library_reads_what_is_written(tmp_path: Path) -> None:
    read = load_file(write_tensors(tmp_path / "x.safetensors", TENSORS, {"b": "2", "a": "1"}))
    assert read.keys() == TENSORS.keys()
    assert all(torch.equal(read[name], tensor) and read[name].dtype is tensor.dtype for name, tensor in TENSORS.items())


def test_equal_content_gives_equal_bytes_in_any_order(tmp_path: Path) -> None:
    one = write_tensors(tmp_path / "1", TENSORS, {"b": "2", "a": "1"})
    other = write_tensors(tmp_path / "2", dict(reversed(TENSORS.items())), {"a": "1", "b": "2"})
    assert one.read_bytes() == other.read_bytes()
    assert content_hash(TENSORS) == content_hash(dict(reversed(TENSORS.items())))


def test_streaming_asks_for_one_tensor_after_the_other_and_leaves_nothing_where_it_fails(tmp_path: Path) -> None:
    shapes = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in TENSORS.items()}
    asked: list[str] = []

    def make(name: str) -> torch.Tensor:
        asked.append(name)
        return TENSORS[name]

    streamed = write_streamed(tmp_path / "1", shapes, make, {})
    assert streamed.read_bytes() == write_tensors(tmp_path / "2", TENSORS, {}).read_bytes()
    assert sorted(asked) == sorted(TENSORS)
    with pytest.raises(ZeroDivisionError):
        write_streamed(tmp_path / "3", shapes, lambda name: TENSORS[name] / (1 // 0), {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


def test_a_header_says_names_types_shapes_and_texts(tmp_path: Path) -> None:
    save_file(TENSORS | {"transposed": torch.zeros(1)}, tmp_path / "x.safetensors", {"made": "by others"})
    header = look(tmp_path / "x.safetensors")
    assert header.shapes["b"] == (torch.float32, (2, 3)) and header.shapes["a"] == (torch.bfloat16, ())
    assert header.metadata == {"made": "by others"}


def test_a_header_whose_length_begins_like_a_pickle_is_read(tmp_path: Path) -> None:
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(0x0280)
    content = len(header).to_bytes(8, "little") + header + bytes(4)
    assert content.startswith(b"\x80\x02")
    (tmp_path / "x.safetensors").write_bytes(content)
    assert look(tmp_path / "x.safetensors").shapes["a"] == (torch.float32, (1,))


@pytest.mark.parametrize("legacy", [True, False])
def test_a_pickle_is_refused_unread(tmp_path: Path, legacy: bool) -> None:
    file, touched = tmp_path / "model.ckpt", tmp_path / "touched"
    torch.save({"weights": Trap(touched)}, file, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ConfigError, match="was not read"):
        look(file)
    named = tmp_path / "model.safetensors"
    named.write_bytes(pickle.dumps(Trap(touched)))
    with pytest.raises(ConfigError, match="pickle"):
        look(named)
    assert not touched.exists()


@pytest.mark.parametrize("left", [-1, 40, 8, 200])
def test_a_cut_off_file_is_told_from_a_whole_one(tmp_path: Path, left: int) -> None:
    whole = write_tensors(tmp_path / "whole", TENSORS, {"a": "x" * 300})
    with pytest.raises(ConfigError, match=r"cut off: \d+ bytes are there" if left != 8 else "no safetensors"):
        look(cut_off(tmp_path / "part", whole, left))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"GGUF\x03\x00", "GGUF"),
        (b"", "empty"),
        (b"anything else at all", "no safetensors file"),
        ((16).to_bytes(8, "little") + b'{"a":{"dtype":1}' + b"0000", "damaged"),
    ],
)
def test_other_files_are_named(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        look(tmp_path / "x.safetensors")
    with pytest.raises(ConfigError, match="no file"):
        look(tmp_path / "nothing.safetensors")
