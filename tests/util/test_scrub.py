from __future__ import annotations

import getpass
import socket
from pathlib import Path

import pytest

from emote.util.scrub import Scrubber


@pytest.fixture
def scrubber(monkeypatch: pytest.MonkeyPatch) -> Scrubber:
    """On the machine `marvin` of the user `zaphod`, whose home is /home/zaphod."""
    monkeypatch.setattr(getpass, "getuser", lambda: "zaphod")
    monkeypatch.setattr(socket, "gethostname", lambda: "marvin.local")
    monkeypatch.setenv("HOME", "/home/zaphod")
    monkeypatch.setenv("HF_TOKEN", "hf_" + "t" * 34)
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    return Scrubber(keep=["An emoji of a cat"])


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("/home/zaphod/images/cats", "cats"),
        ("/home/zaphod/my images", "my images"),
        ("~/cats", "cats"),
        ("~", "."),
        ("../cats", "cats"),
        (r"C:\Users\zaphod\cats", "cats"),
        (r"\\marvin\share\cats", "cats"),
        ("read from /mnt/disk/a.png, twice", "read from a.png, twice"),
        ("see (/mnt/disk/a)", "see (a)"),
        ("on marvin", "on somebody"),
        ("zaphod-3", "somebody-3"),
        ("key 0123456789abcdef", "key <token>"),
        ("hf_" + "t" * 34, "<token>"),
        ("hf_" + "o" * 34, "<token>"),
    ],
)
def test_what_is_of_this_machine_is_gone(scrubber: Scrubber, text: str, clean: str) -> None:
    assert scrubber.text(text) == clean


@pytest.mark.parametrize(
    "text",
    [
        "An emoji of {text}", "weights/mini", "owner/name", "https://huggingface.co/owner/name", "4 s/step", "and/or",
        "1/2", "zaphods", "image/png", "CPU (x86_64, 2 threads)", "2.13.0+cpu", "#ffcc00", "a / b", "",
    ],
)  # fmt: skip
def test_everything_else_stays(scrubber: Scrubber, text: str) -> None:
    assert scrubber.text(text) == text


def test_a_command_is_read_word_by_word(scrubber: Scrubber) -> None:
    line = "python train.py 'data.path=/home/zaphod/my images' lora.rank=8 'callbacks.samples.prompts=[a cat]'"
    told = "python train.py 'data.path=my images' lora.rank=8 'callbacks.samples.prompts=[a cat]'"
    assert scrubber.command(line) == told


def test_a_user_who_is_called_like_a_subject_does_not_rename_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "cat")
    assert Scrubber(keep=["An emoji of a Cat"]).text("a cat") == "a cat"
    assert Scrubber().text("a cat") == "a somebody"


def test_nested_values_are_all_looked_at(scrubber: Scrubber) -> None:
    values = {"a": ["/home/zaphod/x", 3, None], "b": {"c": "on marvin", "d": True}}
    assert scrubber.values(values) == {"a": ["x", 3, None], "b": {"c": "on somebody", "d": True}}


def test_the_home_directory_counts_as_a_name(scrubber: Scrubber) -> None:
    assert Path.home().name == "zaphod" and scrubber.text("by zaphod") == "by somebody"
