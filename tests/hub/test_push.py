"""One commit for what differs, nothing twice, nothing lost."""

from __future__ import annotations

import getpass
import json
import shutil
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from emote.config import HubConfig
from emote.hub import background
from emote.hub.background import BackgroundPush
from emote.hub.client import Hub, NotNow
from emote.hub.collect import collect
from emote.hub.push import State, plan, push_patiently, push_pending
from emote.util.errors import ConfigError
from tests.hub_server import HubServer, Repository

NAME = "tester/style"
PUSHED = {
    ".gitattributes", "README.md", "config.yaml", "loss.png", "metrics.csv", "pytorch_lora_weights.safetensors",
    "samples.png", "samples/00-base.png", "samples/00-fine-tuned.png", "samples/01-base.png",
    "samples/01-fine-tuned.png", "smoke.safetensors", "summary.json",
}  # fmt: skip


def wanted(**changes: object) -> HubConfig:
    values = {"push": True, "repo": NAME, "private": True, "every_steps": None, "checkpoints": False}
    return HubConfig(**(values | changes))  # type: ignore[arg-type]


def step_of(run: Path) -> Path:
    return run / "steps" / "000004"


def push(run: Path, **changes: object) -> State:
    plan(run, step_of(run), wanted(**changes))
    return push_pending(run, Hub())


def patiently(run: Path, seconds: float = 60) -> State:
    deadline = time.monotonic() + seconds
    push_patiently(run, Hub(), lambda: deadline, time.sleep, lambda text: None)
    return State.of(run)


def repository(hub: HubServer) -> Repository:
    return hub.repositories[NAME]


def test_a_run_is_pushed_whole_and_private_in_one_commit(hub: HubServer, finished: Path) -> None:
    state = push(finished)
    there = repository(hub)
    assert there.private and set(there.files) == PUSHED and len(there.commits) == 2
    assert there.commits[-1].message == f"{finished.name}, step 4"
    assert (state.pushed, state.pending) == ("steps/000004", None)
    assert state.revision == there.commits[-1].oid == State.of(finished).revision
    for name in ("smoke.safetensors", "samples.png", "metrics.csv"):
        assert there.files[name] == (step_of(finished) / name).read_bytes()
    assert sorted(json.loads(there.files["summary.json"])["files"]) == sorted(PUSHED - {".gitattributes"})


def test_nothing_is_pushed_twice(hub: HubServer, finished: Path) -> None:
    push(finished)
    sent, commits = hub.count("^/lfs/", "PUT"), hub.count("/commit/")
    push(finished)
    (finished / "hub.json").unlink()  # nor by somebody who knows of no push
    push(finished)
    assert (hub.count("^/lfs/", "PUT"), hub.count("/commit/")) == (sent, commits)


def test_only_what_differs_is_sent_and_what_is_gone_is_deleted(hub: HubServer, finished: Path) -> None:
    push(finished)
    sent = hub.count("^/lfs/", "PUT")
    step = step_of(finished)
    shutil.copy(step / "samples" / "00-base.png", step / "samples" / "00-fine-tuned.png")
    (step / "samples" / "01-base.png").unlink()
    (step / "metrics.csv").write_text("step,loss\n1,0.5\n")
    there = repository(hub)
    there.commit("by hand", there.files | {"notes.txt": b"the owner's own"})
    push(finished)
    assert len(there.commits) == 4 and hub.count("^/lfs/", "PUT") == sent  # that image the Hub has already
    assert "samples/01-base.png" not in there.files and there.files["notes.txt"]
    assert there.files["metrics.csv"] == b"step,loss\n1,0.5\n"


@pytest.mark.parametrize("what", [500, 429, "cut"])
def test_with_a_fifth_of_the_requests_failing_it_arrives_whole(
    hub: HubServer, finished: Path, what: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = hub.fail(what, share=0.2, seed=4, headers={"Retry-After": "0"})
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)  # the client's own pauses
    plan(finished, step_of(finished), wanted())
    assert patiently(finished).pending is None
    assert fault.happened > 2 and set(repository(hub).files) == PUSHED and len(repository(hub).commits) == 2


def test_a_commit_whose_answer_was_lost_is_not_made_again(hub: HubServer, finished: Path) -> None:
    hub.fail("cut", "/commit/", times=1, after=True)
    plan(finished, step_of(finished), wanted())
    assert patiently(finished).revision == repository(hub).commits[-1].oid
    assert len(repository(hub).commits) == 2


def test_somebody_elses_commit_meanwhile_is_kept(
    hub: HubServer, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Hub.contents

    def contents(self: Hub, name: str) -> object:
        found = original(self, name)
        there = repository(hub)
        if len(there.commits) == 1:
            there.commit("by hand", there.files | {"notes.txt": b"the owner's own"})
        return found

    monkeypatch.setattr(Hub, "contents", contents)
    plan(finished, step_of(finished), wanted())
    patiently(finished)
    assert set(repository(hub).files) == PUSHED | {"notes.txt"}


def test_while_the_hub_is_down_it_is_pending_and_later_it_is_done(hub: HubServer, finished: Path) -> None:
    hub.stop()
    plan(finished, step_of(finished), wanted())
    state = patiently(finished, seconds=0)
    assert state.pending == "steps/000004" and "cannot be reached" in str(state.reason)
    hub.start()
    assert patiently(finished).pending is None and set(repository(hub).files) == PUSHED


def test_what_the_user_must_mend_is_not_tried_again(hub: HubServer, finished: Path) -> None:
    plan(finished, step_of(finished), wanted())
    fault = hub.fail(403, "/commit/")
    with pytest.raises(ConfigError, match="may not write to tester/style"):
        patiently(finished)
    assert fault.happened == 1 and "may not write" in str(State.of(finished).reason)


def test_the_hub_is_left_alone_for_as_long_as_it_asks(hub: HubServer, finished: Path) -> None:
    hub.fail(429, "^/api/models/[^/]+/[^/]+$", times=1, headers={"Retry-After": "7"})
    pauses: list[float] = []
    plan(finished, step_of(finished), wanted())
    push_patiently(finished, Hub(), lambda: float("inf"), pauses.append, lambda text: None)
    assert pauses == [7.0] and set(repository(hub).files) == PUSHED


def test_nothing_of_this_machine_is_pushed(
    hub: HubServer, finished: Path, monkeypatch: pytest.MonkeyPatch, tiny_sd: Path
) -> None:
    """Every byte of every commit is searched, also where an older version wrote a path into a header."""
    monkeypatch.setattr(getpass, "getuser", lambda: "zaphod")
    monkeypatch.setattr(socket, "gethostname", lambda: "marvin")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    step = step_of(finished)
    config = yaml.safe_load((step / "config.yaml").read_text())
    config["data"]["path"] = "/home/zaphod/images of marvin"
    config["callbacks"]["extra"] = {"mine": {"_target_": "my.Callback", "key": hub.TOKEN, "host": "marvin"}}
    (step / "config.yaml").write_text(yaml.safe_dump(config))
    summary = json.loads((step / "summary.json").read_text())
    summary["command"] += " 'data.path=/home/zaphod/images of marvin' run.dir=/home/zaphod/runs"
    summary["skipped_items"] = [{"name": "zaphods diary.png", "reason": "cannot be read"}]
    (step / "summary.json").write_text(json.dumps(summary))
    kohya = step / "smoke.safetensors"
    with safe_open(str(kohya), "pt") as file:
        told = dict(file.metadata())
    before = load_file(kohya)
    save_file(before, kohya, told | {"ss_sd_model_name": "/home/zaphod/dreamy.safetensors"})
    push(finished)
    needles = [b"zaphod", b"marvin", hub.TOKEN.encode(), b"0123456789abcdef", b"diary", b"/home/", b"/tmp/",
               str(Path.home()).encode(), str(tiny_sd.parent).encode(), str(finished).encode()]  # fmt: skip
    found = [(name, needle) for name, content in hub.files_of_every_commit() for needle in needles if needle in content]
    assert found == []
    copy = finished / "copy.safetensors"
    copy.write_bytes(repository(hub).files["smoke.safetensors"])
    after = load_file(copy)
    assert all(bool((after[key] == before[key]).all()) for key in before) and set(after) == set(before)
    with safe_open(str(copy), "pt") as file:
        assert file.metadata()["ss_sd_model_name"] == "dreamy.safetensors"


def test_the_published_configuration_says_what_is_learned_and_not_where(hub: HubServer, finished: Path) -> None:
    config = yaml.safe_load(collect(step_of(finished), NAME)["config.yaml"])  # type: ignore[arg-type]
    assert config["lora"]["rank"] and config["trainer"]["max_steps"] == 4 and config["data"]["source"] == "openmoji"
    assert not {"run", "hub", "logger", "resume_from"} & set(config)


def test_a_folder_that_is_not_whole_is_not_published(finished: Path) -> None:
    (step_of(finished) / "config.yaml").unlink()
    with pytest.raises(ConfigError, match="cannot be published"):
        collect(step_of(finished), NAME)


@pytest.fixture
def pushes(hub: HubServer, finished: Path) -> Callable[..., tuple[BackgroundPush, list[str]]]:
    def start(**changes: object) -> tuple[BackgroundPush, list[str]]:
        said: list[str] = []
        return BackgroundPush(finished, Hub(), wanted(**changes), said.append), said

    return start


def test_in_the_background_nobody_waits(
    hub: HubServer, finished: Path, pushes: Callable[..., tuple[BackgroundPush, list[str]]]
) -> None:
    slow = hub.fail("slow", "preupload", seconds=60, times=1)
    pushing, _ = pushes()
    pushing.submit(step_of(finished))
    for _ in range(500):
        if slow.happened:
            break
        time.sleep(0.01)
    assert State.of(finished).pending == "steps/000004"  # and we are here
    hub.stopping.set()
    assert pushing.finish().pending is None and set(repository(hub).files) == PUSHED


def test_what_comes_meanwhile_is_pushed_next(
    hub: HubServer, finished: Path, pushes: Callable[..., tuple[BackgroundPush, list[str]]]
) -> None:
    pushing, said = pushes()
    slow = hub.fail("slow", "/commit/", seconds=60, times=1)
    earlier = finished / "snapshots" / "000002"
    shutil.copytree(step_of(finished), earlier)
    (earlier / "metrics.csv").write_text("earlier")
    pushing.submit(earlier)
    while not slow.happened:
        time.sleep(0.01)
    pushing.submit(step_of(finished))
    hub.stopping.set()
    assert pushing.finish().pushed == "steps/000004"
    assert [c.files.get("metrics.csv") == b"earlier" for c in repository(hub).commits] == [False, True, False]
    assert len(said) == 1 and not earlier.exists()


def test_the_end_waits_a_bounded_time_and_says_what_is_pending(
    hub: HubServer, finished: Path, pushes: Callable[..., tuple[BackgroundPush, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(background, "UPLOAD_S", 0.2)
    pushing, said = pushes()
    hub.fail("slow", "/commit/", seconds=60)
    pushing.submit(step_of(finished))
    assert pushing.finish().pending == "steps/000004"
    assert "emote push run=smoke-" in said[-1] and str(finished.parent) in said[-1]
    told = json.loads((step_of(finished) / "summary.json").read_text())["hub"]
    assert told["pending"] == "steps/000004" and "not done" in told["reason"]


def test_the_end_gives_up_on_a_hub_that_is_down(
    hub: HubServer, finished: Path, pushes: Callable[..., tuple[BackgroundPush, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(background, "RETRIES_S", 0.2)
    pushing, said = pushes()
    hub.stop()
    pushing.submit(step_of(finished))
    assert "cannot be reached" in str(pushing.finish().reason)
    assert sum(line.startswith("warning:") for line in said) == 1  # however often it is tried


def test_the_summary_says_what_is_where(
    hub: HubServer, finished: Path, pushes: Callable[..., tuple[BackgroundPush, list[str]]]
) -> None:
    pushing, _ = pushes()
    pushing.submit(step_of(finished))
    pushing.finish()
    told = json.loads((step_of(finished) / "summary.json").read_text())["hub"]
    assert told == {
        "repository": NAME, "pushed": "steps/000004", "revision": repository(hub).commits[-1].oid,
        "pending": None, "reason": None,
    }  # fmt: skip
    assert b"revision" not in repository(hub).files["summary.json"].replace(b"git_revision", b"")


def test_a_fault_of_ours_is_said_and_ends_nothing(
    hub: HubServer, finished: Path, pushes: Callable[..., tuple[BackgroundPush, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pushing, said = pushes()
    with monkeypatch.context() as broken:
        broken.setattr("emote.hub.push.collect", lambda *_: 1 / 0)
        pushing.submit(step_of(finished))
        while not said:
            time.sleep(0.01)
    assert said == ["warning: not pushed: ZeroDivisionError: division by zero"] and State.of(finished).pending
    pushing.submit(step_of(finished))
    assert pushing.finish().pending is None


def test_no_thread_that_the_process_would_wait_for_is_left(
    hub: HubServer, finished: Path, pushes: Callable[..., tuple[BackgroundPush, list[str]]]
) -> None:
    before = {thread for thread in threading.enumerate() if not thread.daemon}
    pushing, _ = pushes()
    hub.fail("slow", "^/lfs/", seconds=60)
    pushing.submit(step_of(finished))
    while not hub.count("^/lfs/"):
        time.sleep(0.01)
    assert {thread for thread in threading.enumerate() if not thread.daemon} == before
    hub.stopping.set()
    pushing.finish()


def test_a_hub_that_never_answers_is_not_now() -> None:
    with pytest.raises(NotNow, match="did not answer within 0 s"):
        background.within(0.05, threading.Event().wait)
    assert background.within(5, lambda: 7) == 7
