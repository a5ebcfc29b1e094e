"""Packs: a zip for each platform, with images within its limits, a manifest and a contact sheet."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

import emote
from emote.imaging.fitting import fit
from emote.packs.contact_sheet import contact_sheet
from emote.packs.encoding import encode, png_bytes
from emote.packs.names import shortcodes
from emote.packs.platforms import KINDS, Kind, Platform
from emote.util.errors import ConfigError
from emote.util.files import write_bytes
from emote.util.hints import not_one_of

MANIFEST, SHEET = "manifest.json", "contact-sheet.png"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that zip files know: the same pack has the same bytes


@dataclass(frozen=True)
class PackItem:
    """A cut-out image (RGBA) and what the manifest says about it; seed None where it is not known."""

    prompt: str
    seed: int | None
    image: Image.Image
    model: str
    licence: str
    name: str | None = None  # to be made a shortcode of, instead of the prompt


def write_pack(
    items: Sequence[PackItem],
    platforms: Iterable[Platform | str],
    folder: Path,
    on_image: Callable[[int], None] = lambda done: None,
) -> list[Path]:
    """Write `<platform>.zip` for each platform and a contact sheet into the folder; returns the zips.

    on_image: told how many images are done, of len(items) × platforms. The same items give the same bytes.
    Raises ConfigError, before anything is written, for everything that does not fit a platform, and by how much.
    """
    chosen = [_platform(platform) for platform in dict.fromkeys(platforms)]
    if not items or not chosen:
        raise ConfigError(f"a pack needs at least one {'platform' if items else 'image'}, got none")
    names = shortcodes(item.name or item.prompt for item in items)
    wrong = [line for platform in chosen for line in _too_many(platform, len(items))]
    for item, name in zip(items, names, strict=True):
        try:
            fit(item.image, 1, is_square=False)
        except ConfigError as error:
            wrong.append(f"{name}: {error}")
    _complain(wrong)
    title = " · ".join([f"{len(items)} emoji", *dict.fromkeys(item.model for item in items if item.model)])
    sheet_png = png_bytes(contact_sheet([item.image for item in items], names, title))
    packs: dict[Path, bytes] = {}
    for number, platform in enumerate(chosen):
        files: dict[str, bytes] = {}
        entries = []
        for i, (item, name) in enumerate(zip(items, names, strict=True)):
            own = {}
            for kind in KINDS[platform]:
                try:
                    own[f"{kind.folder}/{name}.png"] = encode(
                        fit(item.image, kind.side_px, kind.is_square), kind.limit_bytes
                    )
                except ConfigError as error:
                    wrong.append(f"{platform.name} {kind.folder}/{name}: {error}")
            entries.append(_entry(item, name, own))
            files |= own
            on_image(number * len(items) + i + 1)
        manifest = {"platform": platform.name, "made_with": f"emote {emote.__version__}", "emoji": entries}
        text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
        packs[folder / f"{platform.name}.zip"] = _zip(files | {MANIFEST: text.encode(), SHEET: sheet_png})
    _complain(wrong)
    write_bytes(folder / SHEET, sheet_png)
    for path, data in packs.items():
        write_bytes(path, data)
        check_pack(path)
    return list(packs)


def check_pack(path: Path) -> None:
    """Open a written pack and hold every image against its platform's limits. Raises ConfigError with all misses."""
    wrong = []
    with zipfile.ZipFile(path) as archive:
        platform = Platform[json.loads(archive.read(MANIFEST))["platform"]]
        for kind in KINDS[platform]:
            for entry in archive.infolist():
                if entry.filename.startswith(f"{kind.folder}/"):
                    wrong += [f"{path.name}: {entry.filename} {rule}" for rule in _misses(archive, entry, kind)]
    _complain(wrong)


def _misses(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, kind: Kind) -> list[str]:
    found = []
    with Image.open(io.BytesIO(archive.read(entry))) as image:
        size = image.size
    if entry.file_size >= kind.limit_bytes:
        over = entry.file_size - kind.limit_bytes + 1
        found.append(f"must be below {kind.limit_bytes:,} bytes, got {entry.file_size:,}: {over:,} too many")
    if max(size) != kind.side_px or (kind.is_square and size[0] != size[1]):
        rule = f"{kind.side_px}×{kind.side_px}" if kind.is_square else f"{kind.side_px} on its longer side"
        found.append(f"must be {rule} pixels, got {size[0]}×{size[1]}")
    return found


def _platform(platform: Platform | str) -> Platform:
    name = platform.name if isinstance(platform, Platform) else platform
    known = [member.name for member in Platform]
    if name not in known:
        raise ConfigError(not_one_of("for", name, known))
    return Platform[name]


def _too_many(platform: Platform, count: int) -> list[str]:
    return [
        f"{platform.name} takes {kind.most} {kind.folder} in a set, got {count}: {count - kind.most} too many; "
        "make several packs"
        for kind in KINDS[platform]
        if kind.most is not None and count > kind.most
    ]


def _complain(wrong: list[str]) -> None:
    if wrong:
        raise ConfigError((f"{len(wrong)} mistakes:\n  " if len(wrong) > 1 else "") + "\n  ".join(wrong))


def _entry(item: PackItem, name: str, files: dict[str, bytes]) -> dict[str, object]:
    described = []
    for path, data in files.items():
        with Image.open(io.BytesIO(data)) as image:
            size = image.size
        described.append(
            {
                "path": path,
                "width": size[0],
                "height": size[1],
                "bytes": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
            }
        )
    about = {"name": name, "prompt": item.prompt, "seed": item.seed, "model": item.model, "licence": item.licence}
    return about | {"files": described}


def _zip(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:  # PNGs are compressed already
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # as on Unix, wherever it is made
            archive.writestr(entry, files[name])
    return stream.getvalue()
