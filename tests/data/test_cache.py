from __future__ import annotations

import errno
import json
import os
import pickle
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from emote.data import shards
from emote.data.cache import Latents, TextEmbeddings, build_latents, build_text
from emote.data.images import Layout, to_pixels
from emote.data.item import Item, content_key
from emote.data.shards import group_keys
from emote.util.errors import ConfigError
from tests.data.helpers import CountingEncoder, CountingTextEncoder, content_of, items_of

ROOT = Path(__file__).resolve().parents[2]
LAYOUT = Layout(16)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MOST_KEYS", 4)


def build(items: dict[str, Item], directory: Path, encoder: CountingEncoder | None = None, **values: Any) -> Latents:
    settings: dict[str, Any] = {"layout": LAYOUT, "mirrored": (False,), "encoder_key": "conv", "batch_size": 3}
    load = (encoder or CountingEncoder()).load
    return build_latents(items, load_encoder=load, directory=directory, workers=2, **{**settings, **values})


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.rglob("*.safetensors"))}


def bad_item(data: bytes, name: str = "broken.png") -> dict[str, Item]:
    return {content_of(data): Item(name, "broken", "broken", lambda: data)}


def run(code: str, directory: Path) -> subprocess.Popen[str]:
    """Python code in another process; `build`, `items_of` and `directory` are at hand."""
    prelude = (
        "import os, signal, sys, time, torch\nfrom pathlib import Path\ntorch.set_num_threads(1)\n"
        "from emote.data import shards\nshards.MOST_KEYS = 4\n"
        "from tests.data.helpers import CountingEncoder, items_of\nfrom tests.data.test_cache import build\n"
        "directory = Path(sys.argv[1])\n"
    )
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", prelude + code, str(directory)], cwd=ROOT, stdout=pipe, stderr=pipe, text=True
    )


# What is stored


def test_latents_are_what_the_encoder_returns(tmp_path: Path) -> None:
    items = items_of(10)
    latents = build(items, tmp_path)
    encode = CountingEncoder().load()
    assert latents.latent_shape == (4, 4, 4)
    for content, item in items.items():
        pixels = torch.from_numpy(to_pixels(item.read(), LAYOUT).copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        mean, logvar = encode(pixels)
        for stored, expected in zip(latents.get(content), (mean[0], logvar[0]), strict=True):
            assert stored.dtype == torch.float32
            torch.testing.assert_close(stored, expected)


def test_the_second_variant_is_the_mirrored_image(tmp_path: Path) -> None:
    items = items_of(5)
    both = build(items, tmp_path, mirrored=(False, True))
    mirrored = build(items, tmp_path, mirrored=(True,))
    for content in items:
        torch.testing.assert_close(both.get(content, 1)[0], mirrored.get(content, 0)[0])
        assert not torch.equal(both.get(content, 0)[0], both.get(content, 1)[0])


def test_a_changed_row_does_not_change_the_cache(tmp_path: Path) -> None:
    items = items_of(3)
    latents = build(items, tmp_path)
    content = next(iter(items))
    before = latents.get(content)[0].clone()
    latents.get(content)[0].zero_()
    assert torch.equal(latents.get(content)[0], before)
    assert latents.get(content)[0].untyped_storage().nbytes() == before.numel() * 4


def test_latents_reach_worker_processes(tmp_path: Path) -> None:
    items = items_of(6)
    latents = build(items, tmp_path)
    content = next(iter(items))
    latents.get(content)
    copy = pickle.loads(pickle.dumps(latents))
    assert torch.equal(copy.get(content)[0], latents.get(content)[0])


def test_content_is_the_hash_of_the_bytes(tmp_path: Path) -> None:
    for content, item in items_of(2).items():
        assert content_key(item.read()) == content


# Encoding once


def test_nothing_is_loaded_or_shown_when_all_is_cached(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    items = items_of(9)
    build(items, tmp_path)
    assert "encoding images" in capfd.readouterr().err
    encoder = CountingEncoder()
    again = build(items, tmp_path, encoder)
    assert encoder.loads == 0 and capfd.readouterr() == ("", "")
    assert all(content in again for content in items)


def test_the_encoder_is_loaded_once_and_then_free(tmp_path: Path) -> None:
    import gc
    import weakref

    encoder = CountingEncoder()
    references = []

    def load() -> Any:
        encode = encoder.load()
        references.append(weakref.ref(encode))
        return encode

    build_latents(items_of(20), LAYOUT, (False,), load, "conv", tmp_path, batch_size=3, workers=2)
    gc.collect()
    assert encoder.loads == 1 and references[0]() is None


def test_batches_always_have_the_same_size(tmp_path: Path) -> None:
    encoder = CountingEncoder()
    build(items_of(10), tmp_path, encoder, batch_size=3)
    assert set(encoder.sizes) == {3}


def test_the_order_of_the_images_changes_nothing(tmp_path: Path) -> None:
    items = items_of(12)
    build(items, tmp_path / "a")
    build(dict(reversed(items.items())), tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_one_image_more_encodes_one_shard_anew(tmp_path: Path) -> None:
    build(items_of(40), tmp_path)
    before = files(tmp_path)
    for number in range(40, 45):
        encoder = CountingEncoder()
        build(items_of(40) | items_of(1, first=number), tmp_path, encoder)
        assert len(encoder.sizes) <= 2 + 2  # five images at most, as one group or as two halves, in batches of 3
    assert before.items() <= files(tmp_path).items()


def test_groups_are_of_limited_size_and_change_alone() -> None:
    keys = sorted(content_of(str(n).encode()) for n in range(5000))
    groups = group_keys(keys, 128)
    assert sorted(key for group in groups for key in group) == keys
    assert max(map(len, groups)) <= 128 and 5000 / len(groups) > 64
    more = group_keys([*keys, content_of(b"another")], 128)
    assert len(set(groups) - set(more)) <= 1


@pytest.mark.parametrize(
    "change",
    [
        {"encoder_key": "other"},
        {"layout": replace(LAYOUT, margin=0.03)},
        {"layout": replace(LAYOUT, background="black")},
        {"layout": replace(LAYOUT, fit="crop")},
        {"mirrored": (False, True)},
        {"batch_size": 2},
    ],
)
def test_whatever_changes_the_bits_is_cached_apart(tmp_path: Path, change: dict[str, Any]) -> None:
    items = items_of(3)
    build(items, tmp_path)
    encoder = CountingEncoder()
    build(items, tmp_path, encoder, **change)
    assert encoder.loads == 1


def test_two_names_of_one_colour_share_the_cache(tmp_path: Path) -> None:
    build(items_of(3), tmp_path)
    encoder = CountingEncoder()
    build(items_of(3), tmp_path, encoder, layout=replace(LAYOUT, background="#ffffff"))
    assert encoder.loads == 0


# Bad images


def test_a_bad_image_is_remembered_and_not_decoded_again(tmp_path: Path) -> None:
    items = items_of(9) | bad_item(b"broken")
    first = build(items, tmp_path)
    assert first.bad == {content_of(b"broken"): "no kind of image that can be read"}
    assert content_of(b"broken") not in first

    def refuse() -> bytes:
        raise AssertionError("decoded again")

    again = build({content: replace(item, read=refuse) for content, item in items.items()}, tmp_path)
    assert again.bad == first.bad
    with pytest.raises(KeyError):
        again.get(content_of(b"broken"))


def test_a_set_of_bad_images_alone_never_loads_the_encoder(tmp_path: Path) -> None:
    encoder = CountingEncoder()
    latents = build(bad_item(b"broken"), tmp_path, encoder)
    assert encoder.loads == 0 and len(latents.bad) == 1
    assert build(bad_item(b"broken"), tmp_path).bad == latents.bad
    with pytest.raises(LookupError):
        _ = latents.latent_shape


def test_no_images_at_all_are_no_error(tmp_path: Path) -> None:
    assert build({}, tmp_path).bad == {}


def test_a_image_that_changes_meanwhile_is_no_silent_mix(tmp_path: Path) -> None:
    items = {content: replace(item, read=lambda: b"other bytes") for content, item in items_of(1).items()}
    with pytest.raises(ConfigError, match=r"0\.png has changed"):
        build(items, tmp_path)
    assert not files(tmp_path)


def test_a_image_that_vanishes_is_named(tmp_path: Path) -> None:
    items = {content: replace(item, read=(tmp_path / "gone.png").read_bytes) for content, item in items_of(1).items()}
    with pytest.raises(ConfigError, match=r"0\.png can no longer be read"):
        build(items, tmp_path)


def test_values_that_are_not_finite_are_never_cached(tmp_path: Path) -> None:
    def load() -> Any:
        return lambda pixels: (pixels / 0, pixels)

    with pytest.raises(ConfigError, match="not finite"):
        build_latents(items_of(2), LAYOUT, (False,), load, "overflow", tmp_path)
    assert not files(tmp_path)


# Interruptions and damage


def test_an_interrupted_build_goes_on_with_the_next_shard(tmp_path: Path) -> None:
    items = items_of(30)
    build(items, tmp_path / "whole")
    total = len(files(tmp_path / "whole"))

    def interrupt(call: int) -> None:
        if call == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(items, tmp_path / "cut", CountingEncoder(interrupt))
    done = files(tmp_path / "cut")
    assert 0 < len(done) < total
    encoder = CountingEncoder()
    build(items, tmp_path / "cut", encoder)
    assert files(tmp_path / "cut") == files(tmp_path / "whole")
    assert len(encoder.sizes) < total * 2


def test_a_killed_build_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    process = run(
        "real, calls = os.fsync, []\n"
        "def fsync(number):\n"
        "    calls.append(number)\n"
        "    if len(calls) == 4: os.kill(os.getpid(), signal.SIGKILL)\n"  # in the middle of writing the fourth
        "    real(number)\n"
        "os.fsync = fsync\n"
        "build(items_of(30), directory)\n",
        tmp_path / "cut",
    )
    assert process.wait(60) == -9
    assert len(files(tmp_path / "cut")) == 3 and len(list((tmp_path / "cut").rglob("*.tmp"))) == 1
    build(items_of(30), tmp_path / "cut")
    build(items_of(30), tmp_path / "whole")
    assert files(tmp_path / "cut") == files(tmp_path / "whole")
    assert not list((tmp_path / "cut").rglob("*.tmp"))


def test_of_two_processes_one_encodes_and_the_other_waits(tmp_path: Path) -> None:
    code = (
        "ready = directory / 'ready'\n"
        "open(ready, 'a').write('x')\n"
        "while len(open(ready).read()) < 2: time.sleep(0.01)\n"  # both begin together
        "encoder = CountingEncoder(lambda call: time.sleep(2.0 if call == 0 else 0))\n"
        "latents = build(items_of(20), directory, encoder)\n"
        "print(encoder.loads, sum(content in latents for content in items_of(20)))\n"
    )
    processes = [run(code, tmp_path) for _ in range(2)]
    results = [process.communicate(timeout=300) for process in processes]
    assert sorted(out.split() for out, _ in results) == [["0", "20"], ["1", "20"]], results
    waited = [err for out, err in results if out.startswith("0")]
    assert "another process is encoding these images" in waited[0]


@pytest.mark.parametrize("damage", ["flip a bit", "flip a bit of the header", "cut off", "empty", "longer"])
def test_a_damaged_shard_is_noticed_said_and_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    build(items_of(20), tmp_path)
    before = files(tmp_path)
    path = sorted(tmp_path.rglob("*.safetensors"))[1]
    data = bytearray(path.read_bytes())
    if damage == "flip a bit":
        data[-5] ^= 1
    elif damage == "flip a bit of the header":
        data[data.index(b'"keys"') + 20] ^= 1
    whole = bytes(data)
    path.write_bytes({"cut off": whole[:-100], "empty": b"", "longer": whole + b"\0"}.get(damage, whole))
    encoder = CountingEncoder()
    build(items_of(20), tmp_path, encoder)
    assert files(tmp_path) == before
    assert len(encoder.sizes) <= 2
    (record,) = caplog.records
    assert path.name in record.getMessage() and "damaged" in record.getMessage() and "\n" not in record.getMessage()


def test_a_shard_under_another_name_is_not_believed(tmp_path: Path) -> None:
    build(items_of(20), tmp_path)
    before = files(tmp_path)
    first, second = sorted(tmp_path.rglob("*.safetensors"))[:2]
    second.write_bytes(first.read_bytes())
    build(items_of(20), tmp_path)
    assert files(tmp_path) == before


def test_a_full_disk_is_told_with_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=r"no space is left in .*latents: .*[\d,]+ bytes.*are free"):
        build(items_of(9), tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".tmp", ".safetensors")]


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot be made .*run\.cache_dir"):
        build(items_of(1), tmp_path / "file")


def test_the_header_names_contents_and_checksum(tmp_path: Path) -> None:
    items = items_of(3)
    build(items, tmp_path)
    (data,) = files(tmp_path).values()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert json.loads(header["__metadata__"]["keys"]) == sorted(items)
    assert len(header["__metadata__"]["sha256"]) == 64
    assert header["mean"]["shape"] == [3, 1, 4, 4, 4] and header["mean"]["dtype"] == "F32"


# Memory


def peak_growth_mb(count: int, side: int, directory: Path) -> tuple[float, float]:
    """(growth of the peak RSS over that of the first tenth, the peak RSS) in MB of a process that caches images."""
    process = run(
        "import resource\n"
        "shards.MOST_KEYS = 128\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        f"items = items_of({count // 10}, side={side}); build(items, directory / 'warm', batch_size=16)\n"
        f"before = peak(); items = items_of({count}, side={side})\n"
        "latents = build(items, directory / 'cold', batch_size=16)\n"
        "assert all(content in latents for content in items)\n"
        "print(peak() - before, peak())\n",
        directory,
    )
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    growth, peak = map(float, out.split())
    return growth, peak


def test_memory_stays_flat_while_images_are_cached(tmp_path: Path) -> None:
    growth, _ = peak_growth_mb(600, 128, tmp_path)  # 29 MB as pixels, 59 MB encoded or as floats
    assert growth < 25


@pytest.mark.slow
def test_caching_20000_images_takes_less_than_2_gb(tmp_path: Path) -> None:
    started = time.monotonic()
    growth, peak = peak_growth_mb(20_000, 64, tmp_path)
    print(f"peak {peak:.0f} MB, of which {growth:.0f} MB for the set's size, in {time.monotonic() - started:.0f} s")
    assert peak < 2000 and growth < 150


# Captions


def test_captions_are_encoded_once_with_the_empty_one(tmp_path: Path) -> None:
    encoder = CountingTextEncoder()
    captions = ["a cat", "a dog", "a cat"]
    text = build_text(captions, encoder.load, "clip", tmp_path, batch_size=4)
    assert sorted(caption for batch in encoder.captions for caption in set(batch)) == ["", "a cat", "a dog"]
    assert {len(batch) for batch in encoder.captions} == {4}
    expected: Tensor = CountingTextEncoder().load()(["a dog"])[0]
    assert torch.equal(text.get("a dog"), expected) and "" in text and "a fox" not in text
    assert text.shape == (5, 3)
    build_text(captions, encoder.load, "clip", tmp_path, batch_size=4)
    assert encoder.loads == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_embeddings_keep_the_type_of_the_encoder(tmp_path: Path, dtype: torch.dtype) -> None:
    for _ in range(2):
        text: TextEmbeddings = build_text(["❤️ heart"], CountingTextEncoder(dtype).load, str(dtype), tmp_path)
        assert text.get("❤️ heart").dtype == dtype


def test_a_caption_that_was_not_encoded_is_named(tmp_path: Path) -> None:
    text = build_text([], CountingTextEncoder().load, "clip", tmp_path)
    with pytest.raises(KeyError, match="a fox"):
        text.get("a fox")


def test_many_captions_go_to_several_shards(tmp_path: Path) -> None:
    captions = [f"caption {n}" for n in range(50)]
    text = build_text(captions, CountingTextEncoder().load, "clip", tmp_path, batch_size=3)
    assert len(files(tmp_path)) > 10
    expected = CountingTextEncoder().load()(captions)
    assert torch.equal(torch.stack([text.get(caption) for caption in captions]), expected)
