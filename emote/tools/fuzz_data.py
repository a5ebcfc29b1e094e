"""Folders as nobody would make them on purpose, each with every kind of damage, and what must hold of each.

`python -m emote.tools.fuzz_data count=300 seed=0`: no traceback, only a report or a ConfigError; every file that lies
there is accounted for in the report; every item can be read and drawn, or is named with the reason.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from emote.config import CAPTIONS, DataConfig, Fit, Frame, OnBadItem, Resample, key
from emote.data.prepared import layout_of, scan
from emote.data.report.looks import look_at
from emote.data.report.report import Cut, make_report
from emote.tools.fuzzing import try_seeds
from emote.util.errors import ConfigError

NAMES = ("party_cat", "PartyCat", "party-cat (2)", "emoji_u1f600", "1F600", "2600", "0001", "IMG_20240101", "a", "",
         " ", "caf\u00e9", "cafe\u0301", "\u732b", "\U0001f600", "900000000000000001", "x" * 200, "with space",
         "quote'\"",         "semi;colon", "new\nline", "tab\t", "-dash", ".dot", "%41", "{text}", "a.b.c", "CON",
         "back\\slash", "\u202eright")  # fmt: skip
SUFFIXES = (".png", ".PNG", ".jpg", ".jpeg", ".webp", ".gif", ".svg", ".svgz", ".bmp", ".tiff", ".ico", ".heic", ".jxl",
            ".avif", ".webm", ".tgs", ".mp4", ".psd", ".pdf", ".xyz", "", ".png_large", ".txt", ".json")  # fmt: skip
FOLDERS = (
    "",
    "",
    "",
    "cats",
    "20_grumpy cat",
    "1_happy dog",
    "2023_holiday",
    "deep/er/still",
    "__MACOSX",
    ".git",
    "\u00e9t\u00e9",
)
TEXTS = ("a cat", "", " \n ", "tag\ntag\ntag", '{"caption": "a cat"}', "{", "[", '["a", "b"]', "\U0001f600", "a" * 5000,
         "(cat:1.3) <lora:x:1>", "{text} {0}", "na\u00efve \u732b", "\r\n", "\0", "\ud83d")  # fmt: skip
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "cp932", "latin-1")


@dataclass
class FuzzOptions:
    count: int = key("folders", at_least=1, default=300)
    seed: int = key("of the first folder", at_least=0, default=0)


def main(arguments: list[str]) -> int:
    """Try `count` folders; print what failed with its seed, and what the others came to. 1 where any failed."""
    options = FuzzOptions(**{name: int(value) for name, _, value in (word.partition("=") for word in arguments)})

    def try_one(seed: int) -> str:
        with tempfile.TemporaryDirectory() as directory:
            return try_folder(Path(directory), seed)

    return try_seeds(options.seed, options.count, "folders", try_one)


def try_folder(directory: Path, seed: int) -> str:
    """Make one folder and read it as a run does; returns what came of it. Raises AssertionError for a silent drop."""
    chosen = random.Random(seed)
    root = directory / "set"
    root.mkdir()
    for _ in range(chosen.randrange(0, 25)):
        _add_image(root, chosen)
    for _ in range(chosen.choice((0, 0, 0, 1, 2))):
        _add_table(root, chosen)
    number = sum(len(names) for _, _, names in os.walk(root))
    path = root
    if chosen.random() < 0.2:
        path = directory / "set.zip"
        number = _zipped(root, path, chosen)
    data = _configuration(path, chosen)
    try:
        found = scan(data)
    except ConfigError as error:
        assert 0 < len(str(error)) < 20_000 and "Traceback" not in str(error)
        return "refused"
    looks = look_at({entry.content: entry.item for entry in found.entries}, layout_of(data), directory / "cache")
    report = make_report(found, data, looks, Cut(75, {}))
    assert sum(report.files.values()) == number, f"{number} files lie there, the report has {dict(report.files)}"
    report.text.encode()  # it can be written anywhere
    for entry in found.entries:
        assert entry.item.caption.strip() and entry.item.repeats > 0
    return "read"


def _configuration(path: Path, chosen: random.Random) -> DataConfig:
    pick = chosen.choice
    data = DataConfig(
        source="folder", path=str(path), config=None, revision=None, split="train", image_column="image",
        text_column=pick(("text", "text", "caption", "words")), captions=pick(["auto"] * 4 + CAPTIONS.names()),
        caption="{text}", trigger=None, repeats=pick(("auto", "auto", "none", "share")), resolution=32,
        background=pick(("white", "random", "#123456")), background_caption=None, fit=pick(tuple(Fit)),
        margin=pick((None, 0.1)), frame=pick(tuple(Frame)), resample=pick(tuple(Resample)), flip=False,
        held_out=pick((0.0, 0.2)), max_items=pick((None, None, 3)), training_items=None,
        on_bad_item=pick((OnBadItem.skip, OnBadItem.skip_any)), licence=None,
    )  # fmt: skip
    return replace(data, caption="an emoji") if data.captions == "one" else data


def _add_image(root: Path, chosen: random.Random) -> None:
    folder = root / chosen.choice(FOLDERS)
    name = chosen.choice(NAMES) + chosen.choice(("", "", str(chosen.randrange(100))))
    suffix = chosen.choice(SUFFIXES[:7] * 3 + SUFFIXES)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name or 'x'}{suffix}"
        if chosen.random() < 0.03:
            path.symlink_to(root / "nowhere")
        else:
            path.write_bytes(_damaged(_image(suffix.lower(), chosen), chosen))
        if chosen.random() < 0.6:
            beside = chosen.choice((path.with_suffix(".txt"), path.with_suffix(".caption"), path.with_suffix(".TXT"),
                                    path.with_name(path.name + ".txt")))  # fmt: skip
            beside.write_bytes(_text(chosen))
        if chosen.random() < 0.05:
            path.with_name(f"{path.stem}-masklabel.png").write_bytes(_image(".png", chosen))
    except (OSError, ValueError):
        pass  # a name that this file system does not take


def _image(suffix: str, chosen: random.Random) -> bytes:
    side = chosen.choice((1, 2, 16, 16, 40, 90))
    size = (side, chosen.choice((side, side, 1, 300)))
    if suffix in (".svg", ".svgz"):
        text = chosen.choice(("<text y='9'>hi</text>", "<image href='a.png'/>", "<rect width='9' height='9'/>", ""))
        data = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 10 10'>{text}</svg>".encode(
            chosen.choice(("utf-8", "utf-8", "utf-16"))
        )
        return gzip.compress(data) if suffix == ".svgz" else data
    frames = []
    for _ in range(chosen.choice((1, 1, 1, 3))):
        image = Image.new(chosen.choice(("RGB", "RGBA", "RGBA", "L", "P", "1")), size)
        if chosen.random() < 0.8:
            ImageDraw.Draw(image).ellipse((0, 0, *size), fill=chosen.randrange(1, 256) if image.mode != "1" else 1)
        frames.append(image.convert("RGBA"))
    kinds = {
        ".jpg": "JPEG",
        ".jpeg": "JPEG",
        ".webp": "WEBP",
        ".gif": "GIF",
        ".bmp": "BMP",
        ".tiff": "TIFF",
        ".ico": "ICO",
    }
    kind, buffer = kinds.get(suffix, "PNG"), io.BytesIO()
    if kind == "JPEG":
        frames[0].convert("RGB").save(buffer, kind)
    elif kind in ("GIF", "WEBP", "PNG"):
        frames[0].save(buffer, kind, save_all=len(frames) > 1, append_images=frames[1:])
    else:
        frames[0].save(buffer, kind)
    return buffer.getvalue()


def _damaged(data: bytes, chosen: random.Random) -> bytes:
    harm: tuple[Callable[[], bytes], ...] = (
        lambda: b"",
        lambda: data[: chosen.randrange(len(data))],
        lambda: bytes(chosen.randrange(256) for _ in range(200)),
        lambda: data + b"trailing",
        lambda: b"<html><body>404</body></html>",
        lambda: bytes(byte ^ (255 if chosen.random() < 0.01 else 0) for byte in data),
    )
    return chosen.choice(harm)() if chosen.random() < 0.2 else data


def _text(chosen: random.Random) -> bytes:
    text = chosen.choice(TEXTS)
    data = text.encode(chosen.choice(ENCODINGS), "replace") if text != "\ud83d" else b"\xed\xa0\xbd"
    return _damaged(data, chosen) if data else data


def _add_table(root: Path, chosen: random.Random) -> None:
    files = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()] or ["none.png"]
    columns = chosen.choice((("file_name", "text"), ("file_name", "caption"), ("image", "text"), ("name", "words")))
    entries: list[Any] = []
    for _ in range(chosen.randrange(0, 12)):
        name = chosen.choice([*files, "gone.png", "../x.png", "/etc/hostname", "C:\\a.png", "", "party_cat"])
        value = chosen.choice([*TEXTS[:10], None, 5, ["a", "b"], {"x": 1}])
        entry: dict[str, Any] = {
            columns[0]: chosen.choice((name, name.replace("/", "\\"), Path(name).stem)),
            columns[1]: value,
        }
        if chosen.random() < 0.2:
            entry["repeats"] = chosen.choice((1, 3, 0.5, "2", 0, "x", None))
        entries.append(entry)
    name = chosen.choice(("metadata.jsonl", "metadata.csv", "metadata.json", "captions.jsonl", "emoji.json", "x.tsv"))
    if name.endswith(".jsonl"):
        text = "\n".join(json.dumps(entry) for entry in entries)
    elif name.endswith(".json"):
        by_name = {str(entry[columns[0]]): entry[columns[1]] for entry in entries}
        text = json.dumps(chosen.choice((entries, by_name, {"emoji": by_name}, {"stickers": entries})))
    else:
        mark = chosen.choice((",", ";", "\t"))
        text = "\n".join(mark.join(map(str, entry.values())) for entry in [{name: name for name in columns}, *entries])
    (root / name).write_bytes(_damaged(text.encode(chosen.choice(ENCODINGS), "replace") or b"x", chosen))


def _zipped(root: Path, path: Path, chosen: random.Random) -> int:
    """Write the folder as a zip archive, sometimes damaged; returns the number of its files."""
    number = 0
    with zipfile.ZipFile(path, "w", chosen.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for folder, _, names in os.walk(root):
            for name in names:
                file = Path(folder, name)
                if file.exists():
                    archive.write(file, str(file.relative_to(root)))
                    number += 1
    if chosen.random() < 0.3:
        data = bytearray(path.read_bytes())
        for _ in range(3):
            data[chosen.randrange(len(data))] ^= 255
        path.write_bytes(data)
        try:
            with zipfile.ZipFile(path) as archive:
                number = sum(not entry.is_dir() for entry in archive.infolist())
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
            pass
    shutil.rmtree(root)
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
