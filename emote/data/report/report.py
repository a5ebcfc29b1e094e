"""What I found: one account of a set, from any source, before anything is encoded."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

from emote.config import DataConfig
from emote.data.background import is_white
from emote.data.images import MAX_PIXELS
from emote.data.item import Skipped
from emote.data.prepared import Scan, Scanned, split_by_concept, undecodable, whole_repeats
from emote.data.report.looks import Look, Looks, near_duplicates, unusable

EXAMPLES = 3
MOST_NAMES = 1000  # of one kind, that data.txt lists
FEW_CONCEPTS = 5  # held out: below it `evaluation.paired` gives no interval either


@dataclass(frozen=True)
class Cut:
    """Captions that the text encoder cannot read to their ends. kept: of each, what is read.  limit: tokens."""

    limit: int
    kept: Mapping[str, str]


@dataclass
class Report:
    """lines: everything.  advice: what may be wrong, each with what to type.  marks: by content, what is odd of it.

    files: those that lie there, by what became of each (used, skipped, other); of a source without files its rows.
    """

    head: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    marks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    files: Counter[str] = field(default_factory=Counter)

    def mark(self, content: str, what: str) -> None:
        self.marks[content] = (*self.marks.get(content, ()), what)

    @property
    def text(self) -> str:
        return "\n".join([*self.head, *self.advice, "", *self.details]).rstrip() + "\n"


def make_report(scan: Scan, data: DataConfig, looks: Looks, cut: Cut | None) -> Report:
    """looks: of every content of the scan, or none of a set that came with a package.  cut: None where not known."""
    report = Report()
    bad = unusable(looks)
    used = [entry for entry in scan.entries if entry.content not in bad]
    skipped = [*scan.skipped, *undecodable(scan.entries, bad)]
    _count(report, scan, used, skipped)
    _sizes(report, used, looks, data)
    _captions(report, used, cut)
    if licence := data.licence or scan.source.licence:
        report.head.append(f"  licence of the images: {licence}")
    _held_out(report, used, data)
    _skipped(report, skipped)
    _cut(report, used, cut)
    _looks(report, used, looks, data)
    _weights(report, used)
    report.advice += scan.source.notes
    return report


def _count(report: Report, scan: Scan, used: list[Scanned], skipped: list[Skipped]) -> None:
    names = {entry.item.name for entry in used}
    left_out = {one.name for one in skipped if one.is_file} - names
    report.files["used"] = len(names)
    report.files["skipped"] = len(left_out)
    if scan.found > len(scan.entries):
        # what max_items leaves has no names here: it is what is missing in the sum
        report.files["left out by data.max_items"] = scan.left_out
    report.files.update(scan.source.files)
    report.files = +report.files
    total = sum(report.files.values())
    parts = [f"{count:,} {what}" for what, count in report.files.items() if what != "used"]
    kinds = "files" if scan.source.files else "images"
    report.head.append(
        f"data: {len(names):,} of {total:,} {kinds} are used" + (f" ({', '.join(parts)})" if parts else "")
    )
    if len(used) > len(names):
        report.details.append(f"{len(used):,} captioned images: some files have several captions or frames")


def _sizes(report: Report, used: list[Scanned], looks: Looks, data: DataConfig) -> None:
    sizes = Counter(_size(looks[entry.content]) for entry in used if entry.content in looks)
    if sizes:
        common = ", ".join(f"{size} ({count:,})" for size, count in sizes.most_common(3))
        more = f", {len(sizes) - 3:,} other sizes" if len(sizes) > 3 else ""
        report.head.append(f"  sizes: {common}{more}; trained at {data.resolution}×{data.resolution}")


def _size(look: Look | str) -> str:
    assert isinstance(look, Look)
    return f"{look.width}×{look.height}" if look.width else "SVG"


def _captions(report: Report, used: list[Scanned], cut: Cut | None) -> None:
    origins = Counter(entry.item.origin for entry in used)
    captions = Counter(entry.item.caption for entry in used)
    where = ", ".join(f"{count:,} from {origin}" for origin, count in origins.most_common())
    spread = list(captions)[:: max(1, len(captions) // EXAMPLES)][:EXAMPLES]
    examples = ", ".join(f'"{_short(caption)}"' for caption in spread)
    report.head.append(f"  captions: {where}; {len(captions):,} distinct, such as {examples}")
    if len(origins) > 1 and origins["file names"]:
        report.advice.append(
            f"{origins['file names']:,} images have no caption and are called by their names; data.captions=files "
            "leaves them out"
        )
    if len(captions) == 1 < len(used) and not origins["one for all"]:
        report.advice.append("all captions are the same: the model cannot learn to tell the images apart by words")
    if not captions:
        report.head.pop()
    for caption, count in islice(captions.most_common(), 20):
        report.details.append(f"caption ({count:,}): {caption}")
    if len(captions) > 20:
        report.details.append(f"and {len(captions) - 20:,} more captions")


def _short(text: str, length: int = 60) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def _held_out(report: Report, used: list[Scanned], data: DataConfig) -> None:
    groups, held = split_by_concept([(entry.item.concept, entry.content) for entry in used], data.held_out)
    concepts = len(set(groups.values()))
    if held:
        count = sum(groups[entry.item.concept] in held for entry in used)
        report.head.append(
            f"  held out for validation: {count:,} of {len(used):,} images, {len(held):,} of {concepts:,} concepts"
        )
        if len(held) < FEW_CONCEPTS:
            enough = math.ceil(100 * FEW_CONCEPTS / concepts) / 100
            more = f"data.held_out={enough:g} keeps enough" if enough <= 0.5 else "more images would keep enough"
            report.advice.append(
                f"too few concepts are held out ({len(held)}) for their loss to show anything; {more}, 0 trains on all"
            )
        report.details.append(f"held-out concepts: {', '.join(sorted(held)[:20])}{' …' if len(held) > 20 else ''}")
    elif data.held_out == 0:
        report.head.append("  held out for validation: none (data.held_out=0)")
    else:
        name = next(iter(groups.values()), "")
        report.advice.append(
            f"no image is held out for validation: all are of one concept, {_short(name)!r}; captions that say what "
            "each image shows would change that"
        )


def _skipped(report: Report, skipped: list[Skipped]) -> None:
    reasons: dict[str, list[str]] = defaultdict(list)
    for one in skipped:
        reasons[one.kind or one.reason].append(one.name)
    for reason, names in sorted(reasons.items(), key=lambda pair: -len(pair[1])):
        report.advice.append(f"{len(names):,} skipped: {reason} ({_some(names)})")
    report.details += [f"skipped: {one}" for one in skipped]


def _listed(what: str, names: list[str]) -> list[str]:
    more = [f"and {len(names) - MOST_NAMES:,} more: {what}"] if len(names) > MOST_NAMES else []
    return [f"{what}: {name}" for name in names[:MOST_NAMES]] + more


def _some(names: Iterable[str]) -> str:
    distinct = list(dict.fromkeys(names))
    return ", ".join(distinct[:EXAMPLES]) + (
        f", and {len(distinct) - EXAMPLES:,} more" if len(distinct) > EXAMPLES else ""
    )


def _cut(report: Report, used: list[Scanned], cut: Cut | None) -> None:
    if cut is None:
        report.details.append("whether captions are too long was not checked: the base model is not on this machine")
        return
    cut_ones = [entry for entry in used if entry.item.caption in cut.kept]
    if not cut_ones:
        return
    kept = defaultdict(set)
    for caption, left in cut.kept.items():
        kept[left].add(caption)
    equal = sum(len(captions) for captions in kept.values() if len(captions) > 1)
    same = f", {equal:,} of which became equal by it" if equal else ""
    report.advice.append(
        f"{len(cut_ones):,} captions are longer than the {cut.limit} tokens that the text encoder reads, and are cut"
        f"{same} ({_some(entry.item.name for entry in cut_ones)}); put what differs first"
    )
    for entry in cut_ones:
        report.mark(entry.content, "caption is cut")
        report.details.append(f"cut: {entry.item.name}: read is only {cut.kept[entry.item.caption]!r}")


def _looks(report: Report, used: list[Scanned], looks: Looks, data: DataConfig) -> None:
    if not looks:
        return
    entries = {entry.content: entry for entry in used}
    seen = {content: look for content in entries if isinstance(look := looks[content], Look)}

    def say(mark: str, sentence: str, which: Iterable[str]) -> None:
        contents = list(which)
        if contents:
            for content in contents:
                if mark:
                    report.mark(content, mark)
            names = [entries[content].item.name for content in contents]
            report.advice.append(f"{sentence.format(n=f'{len(contents):,}')} ({_some(names)})")
            report.details += _listed(mark or "note", names)

    white = "white " if is_white(data.background) else ""
    other = "gray" if is_white(data.background) else "white"
    say("blank", f"{{n}} images are blank {white}squares: they have the background's colour; data.background={other} "
        "shows them, else remove them", (c for c, look in seen.items() if look.blank))  # fmt: skip
    say("tiny", f"{{n}} images fill less than a quarter of {data.resolution} pixels; data.margin=0.03 crops to what is "
        "drawn, larger originals are better", (c for c, look in seen.items() if look.small))  # fmt: skip
    say("very long", "{n} images are more than eight times as long as wide and become a line; data.fit=crop shows "
        "their middle", (c for c, look in seen.items() if look.is_long and data.fit.name == "pad"))  # fmt: skip
    say("", "{n} images are very large and were made smaller as they were read",
        (c for c, look in seen.items() if look.width * look.height > MAX_PIXELS))  # fmt: skip
    say("not drawn in full", "{n} SVG files link other files or hold HTML, which is not drawn; embed what they show",
        (c for c, look in seen.items() if look.links))  # fmt: skip
    say("", "{n} SVG files hold text, drawn with this machine's fonts or DejaVu Sans; as paths it would be sure",
        (c for c in seen if entries[c].item.rendering.fonts))  # fmt: skip
    animated = [c for c, look in seen.items() if look.frames > 1]
    if animated:
        other_frame = [c for c in animated if entries[c].item.rendering.frame]
        report.advice.append(
            f"{len(animated):,} images are animated: one frame of each is used (data.frame={data.frame.name})"
            if data.frame.name != "all"
            else f"{len(animated):,} used images are frames of animated ones (data.frame=all)"
        )
        if data.frame.name == "best":
            say("", "{n} of them have a first frame that shows little, and another one is used", other_frame)
    say("", "{n} small images with few colours are enlarged without blur, as pixel art (data.resample=smooth blurs)",
        (c for c in seen if entries[c].item.rendering.nearest))  # fmt: skip
    first_of: dict[str, str] = {}
    same: dict[str, list[str]] = {}
    for entry in used:
        if (first := first_of.setdefault(entry.content, entry.item.name)) != entry.item.name:
            same.setdefault(entry.content, [first]).append(entry.item.name)
    if same:
        copies = sum(len(set(names)) - 1 for names in same.values())
        report.advice.append(
            f"{copies:,} files hold the same image as another, byte for byte, and it counts as often "
            f"({_some(next(iter(same.values())))})"
        )
    del first_of, same
    groups = near_duplicates(looks, seen)
    for group in groups:
        for content in group:
            report.mark(content, "near-duplicate")
        report.details.append(f"near-duplicates: {', '.join(entries[content].item.name for content in group[:20])}")
    if groups:
        report.advice.append(
            f"{sum(map(len, groups)):,} images are nearly the same as another, in {len(groups):,} groups "
            f"({_some(entries[content].item.name for content in groups[0])}); keep one of each, or they count as often"
        )


def _weights(report: Report, used: list[Scanned]) -> None:
    repeats = whole_repeats([entry.item.repeats for entry in used])
    if max(repeats, default=1) > 1:
        counts = Counter(repeats)
        shares = ", ".join(f"{count:,} images {number}×" for number, count in sorted(counts.items()))
        report.head.append(f"  repeats: {shares}; data.repeats=none counts all once")
