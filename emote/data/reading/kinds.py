"""Kinds of files that are images or nearly so, and what would make those readable that are not."""

from __future__ import annotations

VIDEO = "a video; save one frame of it: ffmpeg -i NAME -frames:v 1 NAME.png"
RAW = "a camera's raw photograph; export it as .jpg"
DRAWING = "?a program's own drawing; export it as .svg or .png"
UNREADABLE = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "pip install pillow-heif makes it readable, or export it as .jpg"),
    **dict.fromkeys((".jxl",), "pip install pillow-jxl-plugin makes it readable, or export it as .png"),
    **dict.fromkeys((".avif", ".avifs"), "pip install -U pillow makes it readable, or export it as .png"),
    **dict.fromkeys((".tgs", ".lottie"), "an animation of vectors; export it as .gif, .webp or .png"),
    **dict.fromkeys((".webm",), VIDEO),
    **dict.fromkeys((".mp4", ".mov", ".mkv", ".avi", ".m4v", ".mpg", ".mpeg", ".ogv", ".wmv"), VIDEO),
    **dict.fromkeys((".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".rw2", ".orf", ".srw"), RAW),
    **dict.fromkeys((".ai", ".eps", ".pdf", ".cdr", ".sketch", ".fig", ".xcf", ".kra", ".clip", ".afdesign", ".wmf",
                     ".emf", ".procreate", ".riv", ".swf", ".ps"), DRAWING),
}  # fmt: skip
DOCUMENTS = frozenset((".md", ".rst", ".html", ".htm", ".xml", ".json", ".yaml", ".yml", ".toml", ".ini", ".log", ".py",
                       ".sh", ".bat", ".npz", ".npy", ".safetensors", ".ckpt", ".pt", ".zip", ".ds_store"))  # fmt: skip
HEADS = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"<svg", b"II*\0", b"MM\0*")


def may_be_image(suffix: str) -> bool:
    """Return whether a file that is no known kind of image may be one all the same."""
    return suffix not in DOCUMENTS


def why_unreadable(suffix: str) -> str | None:
    """What would make files of this suffix readable; with ? before it where they need not be images of the set."""
    return UNREADABLE.get(suffix)


def looks_like_image(head: bytes) -> bool:
    """Return whether the first bytes are those of a kind that is read."""
    return head.startswith(HEADS) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP") or head[4:12] in (
        b"ftypavif", b"ftypavis"
    )  # fmt: skip
