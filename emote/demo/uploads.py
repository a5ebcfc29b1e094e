"""What a visitor uploads to train on, kept beside the runs. Nothing in it is trusted: names, sizes, archives.

A zip stays a zip, read where it lies: nothing of it is ever unpacked to a path that it names.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import unicodedata
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from emote.data.reading.files import DAMAGED, is_litter
from emote.util.errors import ConfigError
from emote.util.files import hash_rest
from emote.util.units import readable_bytes

FOLDER = "uploads"  # in the directory of the runs
MOST_FILES = 20_000
MOST_BYTES = 2 << 30  # in all, unpacked
BOMB_RATIO, BOMB_BYTES = 200, 10 << 20  # no image of 10 MB shrinks to a 200th
LONGEST_NAME = 120  # bytes; file systems take 255, and a suffix may come
DEEPEST = 12  # folders in each other
IMAGES = {".png", ".apng", ".jpg", ".jpeg", ".webp", ".gif", ".svg", ".bmp", ".avif", ".tif", ".tiff", ".heic", ".jxl"}


def keep_upload(files: Sequence[Path], runs_dir: Path, told: Sequence[str] = ()) -> Path:
    """Return the folder, or the zip, that holds these files; the same files have the same place.

    told: of each file, with the folders that the browser found it in; without, all lie in one folder.
    Raises ConfigError for no files, too many or too much, a zip beside other files, a zip that is damaged or unpacks to
    far more than an image set would, and files of one name whose captions could be mixed up.
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
        names = _relative(told if len(told) == len(files) else [file.name for file in files])
        place = root / _copy(dict(zip(_places(names), files, strict=True)), Path(temporary, "set"))
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


def _relative(told: Sequence[str]) -> list[PurePosixPath]:
    """Return clean paths within the folder that was chosen."""
    paths = []
    for path in told:
        parts = [part for part in path.replace("\\", "/").split("/") if part.strip() not in ("", ".", "..")]
        if len(parts) > DEEPEST:
            raise ConfigError(f"folders may lie {DEEPEST - 1} deep in each other, not {len(parts) - 1}; move them up")
        paths.append([clean_name(part) for part in parts] or ["unnamed"])
    if all(len(parts) > 1 for parts in paths) and len({parts[0] for parts in paths}) == 1:
        paths = [parts[1:] for parts in paths]
    return [PurePosixPath(*parts) for parts in paths]


def _places(names: Sequence[PurePosixPath]) -> list[PurePosixPath]:
    """Return a place of its own for each file: of images, later ones of a name get a folder with a number.

    Raises ConfigError where there are other files too: captions of one image would be another's.
    """
    folders = {str(parent).casefold() for name in names for parent in name.parents}
    taken: set[str] = set()
    places = []
    for name in names:
        place, number = name, 1
        while (key := str(place).casefold()) in taken or key in folders:
            if any(other.suffix.lower() not in IMAGES and not is_litter(str(other)) for other in names):
                raise ConfigError(
                    f"two files are called {name}, and nobody knows which captions are whose: upload one zip of their "
                    "folder, which keeps the folders in it"
                )
            number += 1
            place = PurePosixPath(str(number), name)
        taken.add(key)
        places.append(place)
    return places


def _copy(files: Mapping[PurePosixPath, Path], place: Path) -> str:
    """Copy each to its place in the set, and return the content's name."""
    content = hashlib.sha256()
    for name, file in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place / name)
    for file in sorted(p for p in place.rglob("*") if p.is_file()):
        content.update(
            repr((file.relative_to(place).as_posix(), hashlib.sha256(file.read_bytes()).hexdigest())).encode()
        )
    return content.hexdigest()[:16]


def _refuse_too_much(size: int) -> None:
    if size > MOST_BYTES:
        raise ConfigError(f"a set may take {readable_bytes(MOST_BYTES)} in all, got {readable_bytes(size)}")
