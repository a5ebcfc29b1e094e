from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

from emote.demo import markup

HARM = "\"><script>alert(1)</script><img src=x onerror='alert(1)'>"
FILE = Path("/tmp/a folder/x'\"<.png")


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attributes}


@pytest.mark.parametrize(
    "html",
    [
        markup.header(HARM, HARM),
        markup.examples([HARM]),
        markup.stage([markup.Plate(HARM, FILE, HARM)], HARM, HARM, True),
        markup.gallery([FILE], [HARM], 0, True),
        markup.pack([FILE], [HARM]),
        markup.chat(FILE),
    ],
)
def test_no_text_and_no_name_becomes_markup(html: str) -> None:
    found = Tags(html)
    assert "script" not in found.tags
    assert "onerror" not in found.attributes
    assert all("src=x" not in text and "alert" not in text for text in found.attributes)


def test_what_was_made_last_comes_first() -> None:
    html = markup.gallery([Path("0.png"), Path("1.png")], ["first", "second"], 0, False)
    assert html.index("second") < html.index("first")
    assert 'data-choice="0" aria-pressed="true"' in html


def test_images_are_found_under_whatever_path_the_page_is_served() -> None:
    assert markup.url(Path("/tmp/a b.png")) == "gradio_api/file=/tmp/a%20b.png"
