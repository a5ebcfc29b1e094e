from __future__ import annotations

from pathlib import Path

import pytest

from emote.data.art import art_files
from emote.data.naming import catalogue
from emote.tools.pretraining.art_pack import ArtPack, Drawing
from emote.tools.pretraining.art_set import ArtSet, load_art
from emote.tools.pretraining.wordings import list_wordings

CODES = ("1F408", "1F600", "1F44D", "1F44D-1F3FB", "1F9D1-200D-1F680", "1F468-200D-1F680", "1F63A")


@pytest.fixture(scope="session")
def pack() -> ArtPack:
    """Seven emoji: Twemoji's drawings stand for two trained styles, OpenMoji's for an unseen one."""
    names = catalogue()
    drawings = [
        Drawing(style, code, names[code][0], art_files(source)[code].read_bytes())
        for style, source in (("twemoji", "twemoji"), ("noto", "twemoji"), ("openmoji", "openmoji"))
        for code in CODES
    ]
    return ArtPack({}, list_wordings(dict(names[code] for code in CODES), {}), drawings)


@pytest.fixture(scope="session")
def art(pack: ArtPack, tmp_path_factory: pytest.TempPathFactory) -> ArtSet:
    return load_art(pack, tmp_path_factory.mktemp("art"), workers=1)


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")
