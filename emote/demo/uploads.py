"""What a visitor uploads to train on, kept beside the runs. Nothing in it is trusted: names, sizes, archives.

A zip stays a zip, read where it lies: nothing of it is ever unpacked to a path that it names.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from emote.data.reading.files import DAMAGED
from emote.util.errors import ConfigError
from emote.util.files import hash_rest
from emote.util.units import readable_bytes

FOLDER = "uploads"  # in the directory of the runs
MOST_FILES = 20_000
MOST_BYTES = 2 << 30  # in all, unpacked
BOMB_RATIO, BOMB_BYTES = 200, 10 << 20  # no image of 10 MB shrinks to a 200th
LONGEST_NAME = 120  # bytes; file systems take 255, and a suffix may come


def keep_upload(files: Sequence[Path], runs_dir: Path) -> Path:
    """Return the folder, or the zip, that holds these files; the same files have the same place.

    Raises ConfigError for no files, too many or too much, a zip beside other files, and a zip that is damaged or
    unpacks to far more than an image set would.
    """
    if not files:
        raise ConfigError("nothing has arrived: choose a folder, some images, or one zip")
    zips = [file for file in files if zipfile.is_zipfile(file)]
    if zips and len(files) > 1:
        raise ConfigError(f"{clean_name(zips[0].name)} is a zip beside other files: upload one zip, or images")
    if len(files) > MOST_FILES:
        raise ConfigError(f"a set may have at most {MOST_FILES:,} files, got {len(files):,}")
    _refuse_too_much(sum(file.stat().st_size for file in files))
    root = runs_dir / FOLDER
    root.mkdir(parents=True, exist_ok=True)
    if zips:
        check_zip(zips[0])
        with open(zips[0], "rb") as file:
            place = root / f"{hash_rest(file, hashlib.sha256())[:16]}.zip"
        with tempfile.TemporaryDirectory(dir=root, prefix=".") as temporary:
            shutil.copyfile(zips[0], Path(temporary, "zip")).replace(place)
        return place
    with tempfile.TemporaryDirectory(dir=root, prefix=".") as temporary:
        place = root / _copy(files, Path(temporary, "set"))
        if not place.exists():
            Path(temporary, "set").rename(place)
    return place


def check_zip(file: Path) -> None:
    """Raises ConfigError for an archive that cannot be read or is a bomb, by its directory alone."""
    name = clean_name(file.name)
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (*DAMAGED, OSError) as error:
        raise ConfigError(f"{name} is not a readable zip ({error})") from error
    if len(entries) > MOST_FILES:
        raise ConfigError(f"a set may have at most {MOST_FILES:,} files, {name} has {len(entries):,}")
    _refuse_too_much(sum(entry.file_size for entry in entries))
    for entry in entries:
        if entry.file_size > BOMB_BYTES and entry.file_size > BOMB_RATIO * max(entry.compress_size, 1):
            raise ConfigError(
                f"{clean_name(entry.filename)} in {name} unpacks to {readable_bytes(entry.file_size)} from "
                f"{readable_bytes(entry.compress_size)}, as no image does"
            )


def clean_name(name: str) -> str:
    """Return the last part of a name without what no file should be called: separators, signs that cannot be seen."""
    name = PurePosixPath(name.replace("\\", "/")).name
    name = "".join(c for c in name if unicodedata.category(c)[0] != "C").strip()
    stem, dot, suffix = name.rpartition(".")
    while len(name.encode()) > LONGEST_NAME:
        stem = stem[:-1]
        name = stem + dot + suffix if stem else name[: LONGEST_NAME // 4]
    return name if name not in ("", ".", "..") else "unnamed"


def _copy(files: Sequence[Path], place: Path) -> str:
    """Copy under clean names; a second file of one name goes into a folder `2`, so that its caption stays beside it.

    Return the content's name.
    """
    seen: Counter[str] = Counter()
    content = hashlib.sha256()
    for file in files:
        name = clean_name(file.name)
        seen[name.casefold()] += 1
        count = seen[name.casefold()]
        to = place / name if count == 1 else place / str(count) / name
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, to)
    for file in sorted(p for p in place.rglob("*") if p.is_file()):
        content.update(
            repr((file.relative_to(place).as_posix(), hashlib.sha256(file.read_bytes()).hexdigest())).encode()
        )
    return content.hexdigest()[:16]


def _refuse_too_much(size: int) -> None:
    if size > MOST_BYTES:
        raise ConfigError(f"a set may take {readable_bytes(MOST_BYTES)} in all, got {readable_bytes(size)}")
