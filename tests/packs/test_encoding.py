from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image

from emote.packs.encoding import encode
from emote.util.errors import ConfigError
from tests.packs.helpers import blob, noise


def test_a_small_image_keeps_its_pixels() -> None:
    image = blob()
    with Image.open(io.BytesIO(encode(image, 100_000))) as opened:
        assert opened.mode == "RGBA" and opened.tobytes() == image.tobytes()


def test_a_large_one_gets_a_palette_that_keeps_transparency() -> None:
    image = noise(256)
    image.putalpha(image.getchannel("A").point(lambda a: 128 | a))
    image.paste((0, 0, 0, 0), (0, 0, 128, 128))
    full = len(encode(image, 10**9))
    data = encode(image, full // 3)
    assert len(data) < full // 3
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.mode == "P"
        alpha = np.asarray(opened.convert("RGBA"))[..., 3]
    assert alpha[:120, :120].max() == 0 and alpha[128:, 128:].min() > 0


def test_a_limit_that_cannot_be_met_says_by_how_much() -> None:
    with pytest.raises(ConfigError) as caught:
        encode(noise(128), 1000)
    found = re.search(r"take ([\d,]+) bytes, which is ([\d,]+) too many: it must be below 1,000", str(caught.value))
    assert found
    taken, over = (int(number.replace(",", "")) for number in found.groups())
    assert over == taken - 999  # one byte less would not do, for it must be below


def test_the_limit_itself_is_too_much() -> None:
    size = len(encode(blob(), 10**9))
    assert len(encode(blob(), size + 1)) == size
    assert len(encode(blob(), size)) < size
