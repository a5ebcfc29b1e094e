"""From what a user types to the words that the model was trained on."""

from __future__ import annotations

import re
from pathlib import Path

from emote.util.errors import ConfigError

# of A1111 and others: (robot:1.3), ((robot)), BREAK, AND, <lora:x:1>, [cat:dog:0.5]
SIGNS = re.compile(r"\([^()]*:\s*-?[\d.]+\s*\)|\(\(.*?\)\)|\bBREAK\b|\bAND\b|<\w+:[^>]*>|\[[^\[\]]*:[^\[\]]*\]")
AUTO, NONE, PLACE = "auto", "none", "{text}"


def choose_template(asked: str, caption: str | None) -> str | None:
    """Return the template to put prompts into: `auto` is the run's own (`caption`, None where unknown), `none` is none.

    Raises ConfigError for another text without `{text}`.
    """
    if asked in (AUTO, NONE):
        return caption if asked == AUTO and caption != PLACE else None
    if PLACE not in asked:
        raise ConfigError(f"template must be auto, none or a text with {PLACE}, got {asked or 'nothing'}")
    return asked


def in_template(prompt: str, template: str | None) -> str:
    """`a fairy` in `An emoji of {text}` is `An emoji of a fairy`; a prompt that has the template's words stays."""
    if template is None:
        return prompt
    before, _, after = template.partition(PLACE)
    spoken, start, end = (" ".join(text.lower().split()) for text in (prompt, before, after))
    if (start and spoken.startswith(f"{start} ")) or (not start and end and spoken.endswith(end)):
        return prompt
    return template.replace(PLACE, prompt)


def prompts_of(said: list[str]) -> list[str]:
    """Return the prompts of `prompts=`: texts, and the lines of .txt files in their places. Raises ConfigError."""
    return [
        prompt for text in said for prompt in (read_prompts(Path(text)) if text.lower().endswith(".txt") else [text])
    ]


def read_prompts(file: Path) -> list[str]:
    """Return one prompt a line; empty lines and lines that begin with # are left out. Raises ConfigError."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise ConfigError(f"prompts={file} is not there") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"prompts={file} cannot be read as UTF-8 text: {error}") from error
    prompts = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    if not prompts:
        raise ConfigError(f"prompts={file} has no prompts: write one a line")
    return prompts
