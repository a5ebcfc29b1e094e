"""The page in a real browser."""

from __future__ import annotations

import io
import json
import re
import time
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from emote.demo.serve import Demo
from tests.demo.conftest import SLOW_STEP_S, Slowly

LONGEST_PROMPT = pytest.importorskip("emote.demo.handlers", reason="the demo needs gradio").LONGEST_PROMPT
Session = Callable[..., Any]
LATE_STREAM = """
const fetched = window.fetch;
window.fetch = async (...request) => {
  const answer = await fetched(...request);
  if (!String(request[0]?.url ?? request[0]).includes('queue/data')) return answer;
  const late = new TransformStream({
    transform(chunk, out) { setTimeout(() => { try { out.enqueue(chunk); } catch {} }, 300); },
    flush() { return new Promise(end => setTimeout(end, 400)); },
  });
  return new Response(answer.body.pipeThrough(late), {status: answer.status, headers: answer.headers});
};
"""  # what the server tells a page by itself comes 0.3 s late; answers come at once


def generate(page: Any, prompt: str) -> None:
    """Draw, and wait for the image."""
    drawn = page.locator("#gallery .tile").count()
    page.fill("#prompt textarea", prompt)
    page.press("#prompt textarea", "Enter")
    page.wait_for_function(f"document.querySelectorAll('#gallery .tile').length === {drawn + 1}")
    page.wait_for_selector("#generate")


def widths_px(page: Any, selector: str) -> list[int]:
    """Of the images that are there and could be read."""
    page.wait_for_function(f"[...document.querySelectorAll('{selector}')].every(image => image.complete)")
    return page.eval_on_selector_all(selector, "images => images.map(image => image.naturalWidth)")


def hear(page: Any, words: str) -> None:
    """Wait for the notice with these words, and close it."""
    page.locator("#notice .notice").filter(has_text=words).wait_for()
    page.click("#notice button")
    page.wait_for_selector("#notice .notice", state="detached")


def scrolls_sideways(page: Any) -> bool:
    return page.evaluate("document.documentElement.scrollWidth > window.innerWidth")


def test_a_prompt_becomes_two_images_an_emoji_in_a_chat_and_a_pack(visit: Session) -> None:
    page = visit()
    assert page.inner_text(".masthead .model") == "quickstart-ba9876543210/20"
    assert page.locator(".chip").all_inner_texts() == ["cat", "fairy"]

    page.click("text=fairy")
    page.wait_for_function("document.querySelector('#prompt textarea').value === 'fairy'")
    page.fill("#seed input", "7")
    page.click("#generate")
    page.wait_for_selector("#gallery .tile")
    assert widths_px(page, "#stage img") == [32, 32]
    assert page.inner_text("#stage .facts") == (
        "seed 7 · 2 steps · guidance 4 · LoRA scale 1 · “An emoji of fairy, openmoji style”"
    )
    base, tuned = (
        page.request.get(image.evaluate("image => image.src")).body() for image in page.locator("#stage img").all()
    )
    assert base != tuned
    assert "<lora:quickstart:1>" in Image.open(io.BytesIO(tuned)).info["parameters"]
    assert Image.open(io.BytesIO(tuned)).mode == "RGBA"
    assert len(widths_px(page, "#chat img")) == 2 * 7

    page.uncheck("#transparent input")
    page.wait_for_function("document.querySelectorAll('.checker').length === 0")
    assert widths_px(page, "#stage img") == [32, 32]
    page.check("#transparent input")
    page.wait_for_selector("#stage .checker")

    page.click("#add")
    page.wait_for_selector("#pack li")
    assert page.input_value("#pack code input") == "fairy_emote"  # Slack has a fairy of its own
    page.fill("#pack code input", "My Fairy!")
    page.press("#pack code input", "Tab")
    page.wait_for_function("document.querySelector('#pack input').value === 'my_fairy'")
    page.reload()  # what was made is still there
    page.wait_for_selector("#pack li")
    assert page.input_value("#pack code input") == "my_fairy"
    assert widths_px(page, "#stage img") == [32, 32]
    assert page.locator("#gallery .tile").count() == 1
    with page.expect_download() as downloading:
        page.click("#download-slack")
    assert downloading.value.suggested_filename == "emoji-slack.zip"
    with zipfile.ZipFile(downloading.value.path()) as pack:
        assert pack.testzip() is None
        assert sorted(pack.namelist()) == ["contact-sheet.png", "emoji/my_fairy.png", "manifest.json"]
        emoji = Image.open(io.BytesIO(pack.read("emoji/my_fairy.png")))
        assert (emoji.size, emoji.has_transparency_data) == ((128, 128), True)
        (entry,) = json.loads(pack.read("manifest.json"))["emoji"]
    assert (entry["prompt"], entry["seed"], entry["model"]) == ("fairy", 7, "quickstart-ba9876543210/20")
    assert "OpenMoji" in entry["licence"]

    page.click("#pack button")
    page.wait_for_selector("#pack li", state="detached")
    page.click("#download-slack")
    hear(page, "the pack is empty")
    assert not scrolls_sideways(page)
    assert page.locator("footer").is_hidden()


def test_several_candidates_are_there_to_choose_from(visit: Session) -> None:
    page = visit()
    page.fill("#candidates input[type=number]", "3")
    page.fill("#seed input", "7")
    page.fill("#prompt textarea", "cat")
    page.click("#generate")
    page.wait_for_selector("#gallery .tile:nth-child(3)")
    assert "seed 7 " in page.inner_text("#stage .facts")
    page.click("#gallery .tile:nth-child(1)")
    page.wait_for_function("document.querySelector('#stage .facts').innerText.includes('seed 9 ')")


def test_two_browsers_take_turns_and_see_only_their_own(visit: Session, slowly: Slowly) -> None:
    one, other = visit(), visit()
    for page, words in ((one, "cat"), (other, "nobody")):
        page.fill("#steps input[type=number]", "20")
        page.fill("#prompt textarea", words)
        page.click("#generate")
    other.click("#cancel")  # while it waits for its turn
    other.wait_for_selector("#generate")
    generate(other, "fairy")
    one.wait_for_selector("#gallery .tile")
    assert slowly.most == 1
    for page, words in ((one, "cat"), (other, "fairy")):
        assert [tile.get_attribute("title") for tile in page.locator("#gallery .tile").all()] == [words]
    one.click("#add")
    one.wait_for_selector("#pack li")
    assert other.locator("#pack li").count() == 0


def test_cancelling_or_leaving_stops_the_drawing(visit: Session, slowly: Slowly) -> None:
    page = visit()
    page.fill("#steps input[type=number]", "60")
    page.click("#generate")
    page.wait_for_selector("#stage [role=progressbar]")
    asked_to_cancel: list[Any] = []
    page.route("**/cancel", lambda route: asked_to_cancel.append(route))
    slowly.may_go_on.clear()  # a busy server: neither the answer to Cancel nor the end of the drawing comes soon
    page.click("#cancel")
    while not asked_to_cancel:
        page.wait_for_timeout(20)
    page.wait_for_timeout(100)
    assert page.locator("#generate").is_hidden()  # Gradio would drop a click that comes before the answer
    asked_to_cancel[0].continue_()
    page.wait_for_selector("#generate")
    slowly.may_go_on.set()
    stopped_at = slowly.steps
    assert 0 < stopped_at < 120
    page.fill("#steps input[type=number]", "2")
    generate(page, "cat")
    assert slowly.steps <= stopped_at + 1 + 2 * 2  # one step may have been under way
    assert page.locator("#gallery .tile").count() == 1

    page.fill("#steps input[type=number]", "60")
    page.click("#generate")
    page.wait_for_selector("#stage [role=progressbar]")
    before = slowly.steps
    page.close()
    while slowly.now:
        time.sleep(SLOW_STEP_S)
    assert slowly.steps - before < 100


def test_a_cancel_that_overtakes_its_drawing_stops_it(visit: Session, slowly: Slowly) -> None:
    page = visit()
    page.fill("#steps input[type=number]", "60")
    on_the_way: list[Any] = []
    page.route("**/queue/join*", lambda route: route.continue_() if on_the_way else on_the_way.append(route))
    page.click("#generate")
    with page.expect_response("**/run/predict"):
        page.click("#cancel")
    while not on_the_way:
        page.wait_for_timeout(20)
    with page.expect_response("**/queue/join*"):
        on_the_way[0].continue_()
    page.wait_for_selector("#generate")
    generate_steps = slowly.steps
    page.fill("#steps input[type=number]", "2")
    generate(page, "cat")
    assert slowly.steps <= generate_steps + 2 * 2 and generate_steps <= 1
    assert page.locator("#gallery .tile").count() == 1


def test_a_page_that_is_still_loading_wipes_no_notice_away(visit: Session) -> None:
    page = visit()
    held: list[Any] = []
    loads = page.evaluate(
        "gradio_config.dependencies.filter(d => d.targets.some(t => t[1] === 'load') && d.backend_fn).map(d => d.id)"
    )

    def hold(route: Any) -> None:
        held.append(route) if route.request.post_data_json["fn_index"] in loads else route.continue_()

    page.route("**/run/predict", hold)
    page.reload()
    for _ in range(500):  # until all are held a click would be lost
        if len(held) < len(loads):
            page.wait_for_timeout(20)
    assert len(held) == len(loads) > 1
    page.click("#download-slack")
    page.locator("#notice .notice").filter(has_text="the pack is empty").wait_for()
    for route in held:
        with page.expect_response(lambda answer, asked=route.request: answer.request == asked):
            route.continue_()
    page.wait_for_timeout(300)
    hear(page, "the pack is empty")


def test_bad_prompts_break_nothing(visit: Session) -> None:
    page = visit(390, 844)
    said = {"": "the box is empty", " \n ": "the box is empty", "x" * 10_000: f"at most {LONGEST_PROMPT} characters"}
    for prompt, answer in said.items():
        page.fill("#prompt textarea", prompt)
        page.press("#prompt textarea", "Enter")
        hear(page, answer)
        page.wait_for_selector("#generate")
        assert not scrolls_sideways(page)
    harm = "<img src=x onerror='window.harmed=1'><script>window.harmed=1</script>${window.harmed=1}{{this}}`"
    for prompt in ("🧚‍♀️😀", "قطة سعيدة", "w" * 900, harm):
        generate(page, prompt)
        assert page.inner_text("#stage .words") == prompt
        if prompt == harm:  # its end is said in a message
            hear(page, "harmed")
        page.click("#add")
        assert not scrolls_sideways(page)
    page.wait_for_selector("#pack li:nth-child(4)")
    assert page.evaluate("window.harmed") is None
    assert page.locator("#stage img").count() == 2
    assert page.locator("[onerror]").count() == 0


def test_a_click_just_before_generate_loses_no_drawing(visit: Session) -> None:
    page = visit()
    page.evaluate(LATE_STREAM)
    generate(page, "cat")
    page.click("#add")
    page.wait_for_timeout(100)  # the server is done, and the page does not know it yet
    generate(page, "cat")
    page.wait_for_selector("#pack li")


def test_other_models_and_earlier_drawings_are_a_click_away(visit: Session, demo: Demo) -> None:
    page = visit()
    generate(page, "cat")
    page.click("#models button")
    page.click("#model input")
    labels = page.locator("#model [role=option]").all_inner_texts()
    assert [re.sub(r"^\W*", "", label) for label in labels] == [
        "quickstart-ba9876543210/20", "other-0123456789ab/20", "base model only",
    ]  # fmt: skip
    page.click("#model [role=option]:nth-child(2)")
    page.wait_for_selector(".masthead:has-text('other-0123456789ab/20')")
    page.click("#another")
    page.wait_for_selector("#gallery .tile:nth-child(2)")
    assert page.input_value("#seed input") != "0"
    page.click("#model input")
    page.click("#model [role=option]:nth-child(3)")
    page.wait_for_selector(".masthead:has-text('as it is')")
    generate(page, "cat")
    assert len(widths_px(page, "#stage img")) == 1
    assert demo.image_generator.loads == 1

    assert [tile.get_attribute("aria-pressed") for tile in page.locator("#gallery .tile").all()] == [
        "true",
        "false",
        "false",
    ]
    page.click("#gallery .tile:nth-child(3)")
    page.wait_for_function("document.querySelector('#stage .facts').innerText.includes('seed 0 ')")
    assert len(widths_px(page, "#stage img")) == 2

    page.fill("#hub input, #hub textarea", "<img src=x onerror='window.harmed=1'>")
    page.click("#fetch")
    hear(page, "a Hub name is owner/name, got <img src=x onerror='window.harmed=1'>")
    assert page.evaluate("window.harmed") is None
