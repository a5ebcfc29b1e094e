"""Drawing while one types, in a real browser."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("gradio", reason="the demo needs gradio")

from emote.config import Accelerator
from emote.demo.serve import Demo, DemoOptions, running
from tests.demo.conftest import Slowly, write_run

LETTER_MS = 80
Session = Callable[..., Any]


@pytest.fixture(scope="module")
def demo(tiny_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """With two styles, and an adapter that draws in a few steps."""
    runs = tmp_path_factory.mktemp("live")
    speed = write_run(runs / "speed-aaaaaaaaaaaa", tiny_sd)
    config = yaml.safe_load((speed / "config.yaml").read_text())
    (speed / "config.yaml").write_text(yaml.safe_dump(config | {"trainer": {"objective": "lcm"}}))
    write_run(runs / "other-0123456789ab", tiny_sd)
    write_run(runs / "quickstart-ba9876543210", tiny_sd)
    with running(DemoOptions(runs_dir=str(runs), device=Accelerator.cpu, speed="speed")) as demo:
        yield demo


@pytest.fixture
def slowly(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slowly]:
    """Of what is drawn while one types."""
    draw_each = demo.image_generator.draw_each

    def draw(*arguments: Any, on_step: Callable[[int, int], None], cancelled: Callable[[], bool], **more: Any) -> Any:
        def asked() -> bool:
            on_step(0, 0)
            return cancelled()

        return draw_each(*arguments, cancelled=asked, **more)

    slow = Slowly(draw)
    monkeypatch.setattr(demo.image_generator, "draw_each", Counting(slow))
    yield slow
    slow.may_go_on.set()


class Counting:
    """Notes which prompts and seeds were drawn to the end."""

    def __init__(self, draw: Callable[..., Any]) -> None:
        self.draw = draw
        self.done: list[tuple[str, int, int]] = []

    def __call__(self, model: Any, adapter: Any, requests: Any, **more: Any) -> Any:
        images = self.draw(model, adapter, requests, on_step=lambda done, of: None, **more)
        self.done += [(request.prompt, request.seed, request.inference_steps) for request in requests]
        return images


def drawn(demo: Demo) -> list[tuple[str, int, int]]:
    return demo.image_generator.draw_each.done  # type: ignore[attr-defined]


def type_letters(page: Any, text: str) -> None:
    """Letter by letter, by the browser's own clock: however busy it is, the next letter comes before the pause."""
    page.evaluate(
        """([text, gap]) => new Promise(done => {
          const box = document.querySelector('#prompt textarea');
          let typed = box.value;
          const next = () => {
            typed += text[0];
            text = text.slice(1);
            box.value = typed;
            box.dispatchEvent(new Event('input', {bubbles: true}));
            if (text) setTimeout(next, gap); else done();
          };
          next();
        })""",
        [text, LETTER_MS],
    )


def shown(page: Any, words: str) -> None:
    page.wait_for_function(f"document.querySelector('#stage .words')?.innerText === {words!r}")


def refined(page: Any) -> None:
    page.wait_for_function("document.querySelector('#stage .facts')?.innerText.includes(' 8 steps')")


def test_typing_draws_the_last_text_alone_and_refines_it(visit: Session, demo: Demo, slowly: Slowly) -> None:
    page = visit()
    page.fill("#prompt textarea", "")
    page.wait_for_timeout(600)
    before = len(drawn(demo))
    type_letters(page, "a happy cat")
    shown(page, "a happy cat")
    refined(page)
    made = drawn(demo)[before:]
    assert {prompt for prompt, _, _ in made} == {"An emoji of a happy cat, openmoji style"}
    assert [(seed, steps) for _, seed, steps in made] == [(0, 4), (1, 4), (2, 4), (3, 4), (0, 8)]
    assert slowly.most == 1
    assert page.locator("#strip .tile img").count() == 4 and page.locator("#gallery .tile").count() == 1
    type_letters(page, "s")
    shown(page, "a happy cats")
    refined(page)
    assert page.locator("#gallery .tile").count() == 1  # what is typed takes the place of what was typed before
    page.click("#add")
    page.wait_for_selector("#pack li")


def test_a_text_that_comes_while_another_is_drawn_stops_that_one(visit: Session, demo: Demo, slowly: Slowly) -> None:
    page = visit()
    slowly.may_go_on.clear()
    box = page.locator("#prompt textarea")
    box.fill("cat")
    while not slowly.now:
        page.wait_for_timeout(20)
    begun = slowly.steps
    box.fill("cat and dog")
    page.wait_for_timeout(600)
    slowly.may_go_on.set()
    shown(page, "cat and dog")
    refined(page)
    prompts = {prompt for prompt, _, _ in drawn(demo)}
    assert "An emoji of cat and dog, openmoji style" in prompts and "An emoji of cat, openmoji style" not in prompts
    assert begun <= 2 and slowly.most <= 2  # one waits for its turn while the other sees that it is not wanted


def test_arrows_and_clicks_walk_along_seeds_that_are_drawn_once(visit: Session, demo: Demo, slowly: Slowly) -> None:
    page = visit()
    page.fill("#prompt textarea", "fairy")
    refined(page)
    before = len(drawn(demo))
    page.click("#strip .walk:last-child")
    page.wait_for_function("document.querySelector('#seed input').value === '1'")
    page.wait_for_function("document.querySelector('#stage .facts').innerText.includes('seed 1 ')")
    refined(page)
    assert [(seed, steps) for _, seed, steps in drawn(demo)[before:]] == [(4, 4), (1, 8)]
    page.locator("#strip .tile").nth(2).click()
    page.wait_for_function("document.querySelector('#seed input').value === '3'")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("document.querySelector('#seed input').value === '2'")
    page.wait_for_function("document.querySelector('#stage .facts').innerText.includes('seed 2 ')")


def test_two_browsers_type_at_once_and_see_their_own(visit: Session, demo: Demo, slowly: Slowly) -> None:
    one, other = visit(), visit()
    one.fill("#prompt textarea", "cat")
    other.fill("#prompt textarea", "fairy")
    for page, words in ((one, "cat"), (other, "fairy")):
        shown(page, words)
        refined(page)
    one.fill("#prompt textarea", "dog")
    shown(one, "dog")
    assert other.inner_text("#stage .words") == "fairy"


def test_a_mix_has_a_slider_for_each_and_is_drawn_with(visit: Session, demo: Demo, slowly: Slowly) -> None:
    page = visit()
    page.click("#models button")
    assert page.locator("#weight-1").count() == 0 or page.locator("#weight-1").is_hidden()
    page.click("#also input")
    page.click("#also [role=option]")
    page.wait_for_selector("#weight-1")
    assert "other-0123456789ab/20" in page.inner_text("#weight-1")
    page.fill("#prompt textarea", "cat")
    shown(page, "cat")
    refined(page)
    page.fill("#steps input[type=number]", "2")
    page.click("#generate")
    page.wait_for_selector("#gallery .tile:nth-child(2)")
    source = page.locator("#stage img").last.evaluate("image => image.src")
    import io

    from PIL import Image

    told = Image.open(io.BytesIO(page.request.get(source).body())).info["parameters"]
    assert re.search(r"<lora:quickstart:1> <lora:other:0\.5>", told)


def test_switched_off_nothing_is_drawn_before_it_is_asked_for(visit: Session, demo: Demo, slowly: Slowly) -> None:
    page = visit()
    page.uncheck("#live input")
    before = len(drawn(demo))
    page.fill("#prompt textarea", "cat")
    time.sleep(0.6)
    assert len(drawn(demo)) == before and page.locator("#gallery .tile").count() == 0
