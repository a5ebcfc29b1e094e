"""A directory or zip of images, captioned as people have them: by metadata, text files, exports, folders, or names."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from emote.config import CAPTIONS, DataConfig
from emote.data.images import suffixes
from emote.data.item import Found, Item, Skipped
from emote.data.naming import concept_of
from emote.data.reading.clues import Clues
from emote.data.reading.exports import export_rows
from emote.data.reading.files import (
    Files,
    Reader,
    file_key,
    folders_of,
    open_files,
    printable,
    stem_of,
    suffix_of,
)
from emote.data.reading.kinds import looks_like_image, may_be_image, why_unreadable
from emote.data.reading.lookup import Lookup, is_absolute, without_suffix
from emote.data.reading.names import any_codepoints, repeats_of, words_of
from emote.data.reading.tables import NONE, TABLES, Columns, Row, read_table
from emote.data.reading.text import decode_text, text_in_json
from emote.data.reading.wording import caption_of, needs_words, spoken
from emote.util.errors import ConfigError
from emote.util.hints import nearest

METADATA = ("metadata.jsonl", "metadata.csv")
SIDECARS = (".txt", ".caption")
MASK = "-masklabel"  # OneTrainer's
NO_CAPTION = "no caption: no metadata and no .txt or .caption beside it"


def folder_items(data: DataConfig) -> Found:
    """Return every image under `data.path`, in the order of the paths, with its captions; the others with the reason.

    Captions come, as `data.captions` allows, from `metadata.jsonl` or `metadata.csv` in any directory (`file_name`,
    relative to it, and `data.text_column`); from a `.txt` or `.caption` of the image's name; from any other JSON or
    table that names images; from kohya's folder names (`20_grumpy cat`); or from the file's own name. An image that
    metadata names twice is one item for each caption. Raises ConfigError for a place that does not exist or has no
    images, and for malformed metadata, with file and line.
    """
    return _Folder(open_files(data.path), data).read()


class _Folder:
    """The state of one reading. Names are as the files have them, keys as `file_key` has them."""

    def __init__(self, files: Files, data: DataConfig) -> None:
        self.files, self.data = files, data
        self.found = Found()
        self.columns = Columns(data.text_column, data.repeats)
        self.find_words = CAPTIONS.make(data.captions, data.options)
        self.images: list[str] = []
        self.sidecars: dict[str, list[str]] = {}
        self.others: list[str] = []  # what is neither image nor text beside one
        self.tables: list[str] = []
        self.unreadable: dict[str, str] = {}
        self.captions: dict[str, list[str]] = {}  # of metadata, by image
        self.exported: dict[str, list[str]] = {}
        self.repeats: dict[str, float] = {}

    def read(self) -> Found:
        self._sort_files()
        self.lookup = Lookup(self.images)
        how = self.data.captions
        if not isinstance(how, str) or getattr(CAPTIONS.load(how), "READS_TABLES", True):
            self._read_tables()
        else:
            self.others += self.tables
        self.codepoints = any_codepoints(stem_of(name) for name in self.images)
        used_sidecars: set[str] = set()
        for name in self.images:
            self._add(name, used_sidecars)
        self._account(used_sidecars)
        if not self.found.items and not self.found.skipped:
            raise ConfigError(self._holds_nothing())
        return self.found

    def _sort_files(self) -> None:
        readable = suffixes()
        stems = {without_suffix(file_key(name)).removesuffix(MASK) for name in self.files.names if MASK in name}
        stems &= {without_suffix(file_key(name)) for name in self.files.names if suffix_of(name) in readable and stems}
        for name in self.files.names:
            suffix = suffix_of(name)
            if suffix in readable:
                if stem_of(name).endswith(MASK) and without_suffix(file_key(name)).removesuffix(MASK) in stems:
                    self.found.files["masks, which are not used"] += 1
                else:
                    self.images.append(name)
            elif suffix in SIDECARS:
                self.sidecars.setdefault(without_suffix(file_key(name)).casefold(), []).append(name)
            elif suffix in TABLES or suffix == ".json":
                self.tables.append(name)
            elif reason := why_unreadable(suffix):
                self.unreadable[name] = reason
            elif may_be_image(suffix) and looks_like_image(self.files.head(name, 64)):
                self.images.append(name)
                self.found.notes.add("{n} files without the suffix of an image hold one and are used", printable(name))
            else:
                self.others.append(name)

    def _read_tables(self) -> None:
        strict = [name for name in self.tables if PurePosixPath(name).name in METADATA]
        for name in strict:
            folder = PurePosixPath(name).parent
            if sum(PurePosixPath(other).parent == folder for other in strict) > 1:
                where = self.files.where(str(folder)).removesuffix("/.")
                raise ConfigError(f"{where} holds both {' and '.join(METADATA)}; keep one of them")
            rows = read_table(
                self._bytes(name), self.files.where(name), suffix_of(name), self.columns, self.found.notes
            )
            for row in rows:
                self._use(row._replace(where=row.where.removeprefix(f"{self.files.label}/")), folder)
            self.found.files["metadata"] += 1
        for name in self.tables:
            if name in strict:
                continue
            if self._read_export(name):
                self.found.files["metadata"] += 1
            else:
                self.others.append(name)

    def _use(self, row: Row, folder: PurePosixPath) -> None:
        """What metadata says of one image."""
        relative = str(folder / row.file)
        name = self.lookup.find(row.file, str(folder))
        if name is None and is_absolute(row.file) and suffix_of(row.file) in suffixes() and Path(row.file).is_file():
            name = row.file  # it lies elsewhere, and is read from there
            self.lookup.names[name] = name
            self.images.append(name)
        if name is None:
            there = any(file_key(relative) == file_key(other) for other in self.files.names) or os.path.isfile(row.file)
            why = "no kind of image that can be read" if there else "there is no such file"
            kind = f"named by metadata, but {why}"
            self.found.skipped.append(Skipped(relative, f"named by {row.where}, but {why}", kind, is_file=False))
            return
        if name != row.file and file_key(relative) != file_key(name):
            self.found.notes.add("{n} lines of metadata name their image in another spelling", printable(row.file))
        self.captions.setdefault(name, []).extend(row.texts)
        if row.repeats is not None:
            self.repeats[name] = row.repeats

    def _read_export(self, name: str) -> int:
        """Take the captions of a JSON or table that only may be one; returns the number of its rows."""
        try:
            data = self._bytes(name)
        except ConfigError:
            return 0
        if suffix_of(name) == ".json":
            rows = export_rows(data, name, self.lookup, self.data.text_column)
        else:
            rows = self._loose_rows(name, data)
        fresh = Counter[str]()
        for row in rows:
            texts = [spoken(text, self.found.notes, printable(row.file)) for text in row.texts if text]
            known = self.exported.setdefault(row.file, [])
            known += [text for text in dict.fromkeys(texts) if text not in known]
            fresh[row.file] += 1
        if fresh:
            self.found.notes.add(f"{printable(name)} was read as captions ({{n}} lines)", number=len(rows))
        return len(rows)

    def _loose_rows(self, name: str, data: bytes) -> list[Row]:
        folder = str(PurePosixPath(name).parent)
        try:
            rows = list(read_table(data, self.files.where(name), suffix_of(name), self.columns, self.found.notes))
        except ConfigError:
            return []
        named = [(row, self.lookup.find(row.file, folder, anywhere=True)) for row in rows]
        return [row._replace(file=image) for row, image in named if image]

    def _add(self, name: str, used_sidecars: set[str]) -> None:
        """One image: an item for each of its captions, or why there is none."""
        shown = printable(name)
        try:
            texts, origin = self._texts(name, used_sidecars)
        except (OSError, ValueError) as error:
            why = f"its text file cannot be read ({type(error).__name__}); save it as UTF-8"
            self.found.skipped.append(Skipped(shown, why))
            return
        repeats = self._repeats(name)
        good = [text for text in texts if text or not needs_words(self.data)]
        if not good:
            reason = "its caption is empty" if texts else self._why_none(name)
            self.found.skipped.append(Skipped(shown, reason, NO_CAPTION if not texts else ""))
        elif len(good) < len(texts):
            self.found.notes.add("{n} images have an empty caption beside others", shown)
        read = self._reader(name)
        for text in good:
            if not needs_words(self.data):
                concept, caption = concept_of(text or shown), caption_of(self.data, "")
                origin = "one for all"
            else:
                concept, caption = concept_of(text), caption_of(self.data, text)
            self.found.items.append(Item(shown, caption, concept, read, origin, repeats))

    def _texts(self, name: str, used_sidecars: set[str]) -> tuple[list[str], str]:
        """The words of an image, each spoken, and where they came from; none where nothing says what it shows."""

        def text_file() -> str | None:
            if sidecar := self._sidecar(name):
                used_sidecars.add(sidecar)
                return self._caption_in(sidecar)
            return None

        notes, folders, shown = self.found.notes, folders_of(name), printable(name)
        repeated = repeats_of(folders)
        kohya = repeated[1] if repeated else ""
        return self.find_words(Clues(
            shown, [spoken(text, notes, shown) for text in self.captions.get(name, ())], self.exported.get(name, ()),
            text_file, kohya, kohya if repeated else self._folder_words(name), words_of(stem_of(name), self.codepoints),
            needs_words(self.data), self._reader(name),
        ))  # fmt: skip

    def _folder_words(self, name: str) -> str:
        return next((text for text in map(words_of, reversed(folders_of(name))) if text), "")

    def _reader(self, name: str) -> Reader:
        return Reader(_ELSEWHERE if is_absolute(name) else self.files, name)

    def _sidecar(self, name: str) -> str | None:
        """`a.txt` or `a.caption`, or `a.png.txt`, for `a.png`, in any case; the exact one first."""
        key = file_key(name)
        choices = [other for stem in (without_suffix(key), key) for other in self.sidecars.get(stem.casefold(), ())]
        if not choices:
            return None

        def order(other: str) -> tuple[bool, bool, bool]:
            stem = without_suffix(file_key(other))
            return stem not in (key, without_suffix(key)), suffix_of(other) != ".txt", stem == key

        choices.sort(key=order)
        return choices[0]

    def _caption_in(self, sidecar: str) -> str:
        """Raises OSError and ValueError."""
        shown = printable(sidecar)
        text, encoding = decode_text(self.files.read(sidecar))
        if encoding != "utf-8":
            last = "; if the captions look wrong, save them as UTF-8" if encoding == "cp1252" else ""
            self.found.notes.add(f"{{n}} text files are not UTF-8 and were read as {encoding}{last}", shown)
        text = text.strip()
        if inner := text_in_json(text, self.data.text_column):
            self.found.notes.add("{n} text files hold JSON, of which the caption was taken", shown)
            text = inner
        return spoken(text, self.found.notes, shown, in_file=True)

    def _repeats(self, name: str) -> float:
        wanted = self.data.repeats
        if isinstance(wanted, dict):
            parts = folders_of(name)
            inside = [
                folder for folder in wanted if tuple(PurePosixPath(folder).parts) == parts[: folder.count("/") + 1]
            ]
            return float(wanted[max(inside, key=len)]) if inside else 1.0
        if name in self.repeats or wanted == NONE:
            return self.repeats.get(name, 1.0)
        kohya = repeats_of(folders_of(name))
        return float(kohya[0]) if kohya and wanted == "auto" else 1.0

    def _why_none(self, name: str) -> str:
        how, folder = self.data.captions, self._folder_words(name)
        if how == "folders":
            return "no caption: its folder's name says nothing"
        if how == "files":
            return f"{NO_CAPTION}; data.captions=auto takes its name"
        if how not in ("auto", "names"):
            return f"no caption: data.captions={how} finds none"
        advice = f"; data.captions=folders would call it {folder!r}" if folder else ""
        return f"{NO_CAPTION if how == 'auto' else 'no caption'}, and its name says nothing{advice}"

    def _account(self, used_sidecars: set[str]) -> None:
        """Every file is somewhere: used, skipped with a reason, or counted by what it is."""
        files, skipped = self.found.files, self.found.skipped
        files["captions in text files"] += len(used_sidecars)
        # a caption whose image has a suffix that nothing reads
        by_stem: dict[str, str] = {}
        for name in [*self.others, *self.unreadable]:
            by_stem.setdefault(without_suffix(file_key(name)).casefold(), name)
        captioned: set[str] = set()
        of_images: set[str] = set()
        if len(self.sidecars) > len(used_sidecars):
            of_images = {
                key.casefold() for name in self.images for key in (file_key(name), without_suffix(file_key(name)))
            }
        for stem, sidecars in self.sidecars.items():
            for sidecar in sidecars:
                if sidecar in used_sidecars:
                    continue
                if (owner := by_stem.get(stem)) and may_be_image(suffix_of(owner)):
                    captioned.add(owner)
                    files["captions of files that cannot be read"] += 1
                elif stem in of_images:
                    files["text files beside captions from elsewhere"] += 1
                else:
                    files["text files without an image"] += 1
        for name in [*self.others, *self.unreadable]:
            suffix = suffix_of(name) or "no suffix"
            likely = name in self.unreadable and not self.unreadable[name].startswith("?")
            if name in captioned or likely:
                reason = self.unreadable.get(name, "no kind of image that can be read").lstrip("?")
                skipped.append(Skipped(printable(name), f"{suffix} cannot be used: {reason}"))
            else:
                files[f"other files ({suffix})"] += 1
        self._check_folders()
        self.found.files = +(files + self.files.left)

    def _check_folders(self) -> None:
        wanted = self.data.repeats
        if isinstance(wanted, dict):
            there = {"/".join(folders_of(name)[:n]) for name in self.images
                     for n in range(1, len(folders_of(name)) + 1)}  # fmt: skip
            for folder in wanted:
                if str(PurePosixPath(folder)) not in there:
                    close = nearest(folder, sorted(there))
                    hint = (
                        f"; did you mean {close}?" if close else f"; there are {', '.join(sorted(there)[:5]) or 'none'}"
                    )
                    raise ConfigError(f"data.repeats names the folder {folder}, which holds no images{hint}")

    def _bytes(self, name: str) -> bytes:
        try:
            return self.files.read(name)
        except OSError as error:
            raise ConfigError(f"{self.files.where(name)} cannot be read ({error.strerror or error})") from error

    def _holds_nothing(self) -> str:
        path, names = self.data.path, self.files.names
        kinds = Counter(suffix_of(name) or "no suffix" for name in names)
        there = ", ".join(f"{count} {suffix}" for suffix, count in kinds.most_common(4))
        advice = "put files such as .png, .jpg, .webp or .svg into it, called what they show"
        hints: tuple[tuple[tuple[str, ...], Callable[[str], str]], ...] = (
            ((".parquet", ".arrow"), lambda name: f"for a dataset in the Hub's layout set data=hub data.path={path}"),
            ((".zip",), lambda name: f"set data.path={self.files.where(name)}"),
            ((".csv", ".tsv", ".jsonl"), lambda name: f"for a table whose images lie elsewhere set data=table "
                                                      f"data.path={self.files.where(name)}"),
        )  # fmt: skip
        for endings, hint in hints:
            if first := next((name for name in names if suffix_of(name) in endings), None):
                advice = hint(first)
                break
        return f"data.path={path} holds no images ({there or 'no files'}); {advice}"


class _Elsewhere(Files):
    """Files by their absolute paths."""

    def read(self, name: str) -> bytes:
        return Path(name).read_bytes()


_ELSEWHERE = _Elsewhere("", [], Counter())
