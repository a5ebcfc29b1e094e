"""Where peft's adapters of one pipeline lie: each part's in a directory of its own, or the UNet's above the others'."""

from __future__ import annotations

from pathlib import Path

from emote.lora.description import PEFT_CONFIG
from emote.lora.layer_names import PARTS, PEFT_FILE
from emote.util.errors import ConfigError


def peft_files(directory: Path) -> list[Path]:
    """Return peft's files of a directory and of its parts' (`unet`, `text_encoder`, `text_encoder_2`), which belong
    together.

    Raises ConfigError for a part that has settings and no tensors which are read: the others alone are another adapter.
    """
    folders = [directory, *(directory / part for part in PARTS)]
    found = [folder / PEFT_FILE for folder in folders if (folder / PEFT_FILE).is_file()]
    for folder in folders[1:]:
        if found and (folder / PEFT_CONFIG).is_file() and folder / PEFT_FILE not in found:
            raise ConfigError(
                f"{folder} has {PEFT_CONFIG} and no {PEFT_FILE}, so {directory} is not whole; a part alone is read "
                f"where its own directory is named, such as {found[0].parent}"
            )
    return found
