"""`emote tools evaluate-judge`: measure the judge on real art and write the pages of the documentation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from emote.config import key
from emote.data.item import Item
from emote.util.errors import ConfigError

ABOUT = "Made by `emote tools evaluate-judge{words}`; {side} px drawings, one of each concept."
ABOUT_TRANSFORMATIONS = (
    "Made by `emote tools evaluate-judge`, with the judge `{judge}`: {count} held-out concepts of OpenMoji, as drawn, "
    "stand for what a model drew; “another style” is Twemoji's drawing. Copies among training concepts are asked of "
    "Twemoji's drawings of {count} training concepts."
)


@dataclass
class Options:
    judge: str = key("mini, sd15 or a YAML file", default="mini")
    sets: list[str] = key("icon packages beside OpenMoji and Twemoji: folders or .tgz of iconify's format", default=[])
    side_px: int = key("of the drawings", at_least=32, default=128)
    transformations: bool = key("known transformations too; they take minutes", default=True)
    count: int = key("concepts that are transformed", at_least=10, default=100)
    output: str = key("folder of judge.md and transformations.md", default="docs/evaluation")


def evaluate(options: Options) -> None:
    """Raises ConfigError for a judge or a package that cannot be read."""
    from emote.evaluation.images.judge import ImageJudge, judge_named  # late: these import torch
    from emote.tools.judge_eval.art import read_art
    from emote.tools.judge_eval.calibration import calibrate, measure_power, separate
    from emote.tools.judge_eval.report import write_judge, write_transformations
    from emote.tools.judge_eval.transformations import measure_transformations

    judge = ImageJudge(judge_named(options.judge))
    sets = [read_art(style, options.side_px) for style in ("openmoji", "twemoji")]
    sets += [read_art(*_icons(Path(path), options.side_px)) for path in options.sets]
    words = f" sets=[{','.join(Path(path).name for path in options.sets)}]" if options.sets else ""
    path = Path(options.output)
    write_judge(
        path / "judge.md", judge.label, [calibrate(judge, art) for art in sets], separate(sets),
        measure_power(judge, sets[0], sets[1]), ABOUT.format(words=words, side=options.side_px),
    )  # fmt: skip
    print(path / "judge.md")
    if options.transformations:
        cells = measure_transformations(judge, sets[0], sets[1], options.count)
        about = ABOUT_TRANSFORMATIONS.format(judge=judge.label, count=options.count)
        write_transformations(path / "transformations.md", cells, about)
        print(path / "transformations.md")


def _icons(path: Path, side_px: int) -> tuple[str, int, list[Item]]:
    from emote.data.iconify import BadIconSet, read_icon_set
    from emote.data.naming import concept_of

    try:
        icons = read_icon_set(path)
    except BadIconSet as error:
        raise ConfigError(f"sets: {error}") from error
    items = [
        Item(icon.icon, icon.name, concept_of(icon.name), partial(bytes, icon.svg)) for icon in icons.emoji().values()
    ]
    return icons.prefix, side_px, items
