"""Runs that push: checked before anything is loaded, the same adapter as without, never ended by the Hub."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from emote.config import Config, problems
from emote.hub import background
from emote.hub.push import State
from emote.hub.push_later import Push, push_later
from emote.runs.identity import identity
from emote.runs.lock import run_lock
from emote.training.run import run
from emote.util import interrupt
from emote.util.errors import ConfigError
from emote.util.interrupt import Interrupted
from tests.hub_fixtures import hub
from tests.hub_server import HubServer, Repository

__all__ = ["hub"]

Runner = Callable[..., Path]
MakeConfig = Callable[..., Config]
PUSH = {"hub.push": "true", "hub.repo": "tester/style"}
SHORT = {"trainer.max_steps": 1, "callbacks.samples.prompts": "[]"}
ADAPTER = "pytorch_lora_weights.safetensors"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"hub.repo": "style"}, r"hub\.repo must be owner/name .*, got style; null takes <you>/<name>-<identity>"),
        ({"hub.repo": "a/b--c"}, r"hub\.repo must be owner/name"),
        ({"hub.checkpoints": "true"}, r"hub\.checkpoints=true pushes nothing without hub\.push=true"),
        ({"resume_from": "hub://style"}, r"resume_from must be hub:// and then owner/name .*, got hub://style"),
        ({"resume_from": "hub://"}, r"resume_from must be hub://owner/name or a run's directory, got hub://"),
    ],
)
def test_what_is_typed_wrongly_is_told_with_what_to_say(
    make_config: MakeConfig, values: dict[str, str], told: str
) -> None:
    (line,) = problems(make_config("experiment=smoke", **values))
    assert re.match(told, line)


@pytest.fixture
def repository(hub: HubServer) -> Callable[[], Repository]:
    return lambda: hub.repositories["tester/style"]


def adapter_of(path: Path) -> bytes:
    return (path / ADAPTER).read_bytes()


def test_a_run_with_pushes_learns_the_same_and_is_on_the_hub_step_by_step(
    tiny_run: Runner, hub: HubServer, repository: Callable[[], Repository], tmp_path: Path
) -> None:
    straight = tiny_run(**{"run.dir": tmp_path / "other"})
    path = tiny_run(**PUSH, **{"hub.every_steps": 2})
    assert adapter_of(path) == adapter_of(straight)
    messages = [commit.message for commit in repository().commits]
    assert messages[-1].endswith("step 6") and set(messages[1:-1]) <= {f"{path.parts[-3]}, step {n}" for n in (2, 4)}
    assert repository().files[ADAPTER] == adapter_of(path)
    for commit in repository().commits[1:-1]:
        assert json.loads(commit.files["summary.json"])["planned_steps"] == 6
        assert b"Training goes on" in commit.files["README.md"] and commit.files["loss.png"]
    told = json.loads((path / "summary.json").read_text())["hub"]
    assert told["revision"] == repository().commits[-1].oid and told["pending"] is None
    assert not list((path.parent.parent / "snapshots").iterdir())


def test_where_a_run_is_pushed_is_not_part_of_its_identity(tiny_config: MakeConfig) -> None:
    one, other = tiny_config(), tiny_config(**PUSH, **{"hub.checkpoints": "true", "resume_from": "hub://a/b"})
    assert identity(one, "data", {}) == identity(other, "data", {})


def test_without_a_name_the_repository_is_called_like_the_run(tiny_run: Runner, hub: HubServer) -> None:
    path = tiny_run(**SHORT, **{"hub.push": "true"})
    assert list(hub.repositories) == [f"tester/{path.parts[-3]}"]


def test_a_fifth_of_the_requests_failing_ends_no_run(
    tiny_run: Runner, hub: HubServer, repository: Callable[[], Repository], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)  # the client's own pauses
    fault = hub.fail(500, share=0.2, seed=1)
    path = tiny_run(**PUSH, **{"hub.every_steps": 2, "hub.checkpoints": "true"})
    files = repository().files
    assert fault.happened and files[ADAPTER] == adapter_of(path) and "resume/checkpoints/000006.ckpt" in files
    assert set(json.loads(files["summary.json"])["files"]) == set(files) - {".gitattributes"}


@pytest.mark.parametrize(
    ("token", "repo", "told"),
    [(None, "tester/style", "needs a token"), ("hf_" + "x" * 34, "tester/style", "does not accept"),
     (HubServer.READ_TOKEN, "tester/style", "may write"), (HubServer.TOKEN, "somebody/style", "belongs to somebody")],
)  # fmt: skip
def test_what_the_user_must_mend_is_told_before_anything_is_loaded(
    tiny_run: Runner, hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, token: str | None, repo: str,
    told: str,
) -> None:  # fmt: skip
    monkeypatch.setattr("emote.training.run.identify", lambda *_: pytest.fail("something was loaded"))
    monkeypatch.delenv("HF_TOKEN") if token is None else monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(ConfigError, match=told):
        tiny_run(**PUSH | {"hub.repo": repo})
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("what", [500, "down"])
def test_with_the_hub_out_of_order_a_run_ends_well_and_is_pushed_later(
    tiny_run: Runner, hub: HubServer, repository: Callable[[], Repository], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], what: int | str,
) -> None:  # fmt: skip
    monkeypatch.setattr(background, "RETRIES_S", 0.2)
    hub.stop() if what == "down" else hub.fail(what)
    path = tiny_run(**PUSH, **SHORT)
    said = capsys.readouterr().out
    assert "warning:" in said and "training starts all the same" in said
    assert f"not on the Hub yet: steps/000001 (the Hub {'cannot' if isinstance(what, str) else 'answers'}" in said
    assert said.strip().splitlines()[-1] == str(path)
    assert json.loads((path / "summary.json").read_text())["hub"]["pending"] == "steps/000001"
    hub.heal()
    hub.start() if what == "down" else None
    words = Push(run=path.parts[-3], runs_dir=str(path.parents[2]))
    assert push_later(words) == 0
    assert repository().files[ADAPTER] == adapter_of(path)
    assert json.loads((path / "summary.json").read_text())["hub"]["pending"] is None
    assert push_later(words) == 0 and "nothing new" in capsys.readouterr().out
    assert len(repository().commits) == 2
    with run_lock(path.parents[1]), pytest.raises(ConfigError, match="being worked on by process"):
        push_later(words)


def test_the_same_command_pushes_what_is_pending_without_training(
    tiny_run: Runner, hub: HubServer, repository: Callable[[], Repository], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "RETRIES_S", 0.1)
    hub.stop()
    path = tiny_run(**PUSH, **SHORT)
    hub.start()
    monkeypatch.setattr("emote.training.complete.fit", lambda *_: pytest.fail("trained again"))
    assert tiny_run(**PUSH, **SHORT) == path
    assert repository().files[ADAPTER] == adapter_of(path)


def test_what_a_stopped_run_had_pending_is_pushed_when_it_goes_on(
    tiny_config: MakeConfig, hub: HubServer, repository: Callable[[], Repository], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(**PUSH, **{"hub.every_steps": 1})
    original = interrupt.StopRequest.defer

    def defer_and_stop(self: interrupt.StopRequest) -> None:
        original(self)
        os.kill(os.getpid(), signal.SIGTERM)

    hub.stop()
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(interrupt.StopRequest, "defer", defer_and_stop)
        run(config, [])
    folder = next(Path(config.run.dir).glob("smoke-*"))
    assert State.of(folder).pending == "snapshots/000001"
    hub.start()
    with monkeypatch.context() as patch:  # before a step is done
        patch.setattr("emote.training.complete.encode_data", lambda *_: background.time.sleep(60))
        patch.setattr(background.time, "sleep", lambda seconds: wait_for_commit(repository))
        with pytest.raises(StopIteration):
            run(config, [])
    assert repository().commits[-1].message.endswith("step 1")


def wait_for_commit(repository: Callable[[], Repository]) -> None:
    import threading

    pause = threading.Event()
    for _ in range(1000):
        if len(repository().commits) > 1:
            raise StopIteration
        pause.wait(0.01)


def test_going_on_elsewhere_gives_the_same_adapter(
    tiny_run: Runner, hub: HubServer, repository: Callable[[], Repository], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    straight = tiny_run(**{"run.dir": tmp_path / "straight"})
    tiny_run(**PUSH, **{"hub.checkpoints": "true", "trainer.max_steps": 3})
    commits = len(repository().commits)
    assert push_later(Push(runs_dir=str(tmp_path / "runs"))) == 0 and len(repository().commits) == commits
    elsewhere = tiny_run(**{"run.dir": tmp_path / "elsewhere", "resume_from": "hub://tester/style"})
    assert "fetched step 3 from hub://tester/style" in capsys.readouterr().out
    assert json.loads((elsewhere / "summary.json").read_text())["resumed_from_step"] == 3
    assert adapter_of(elsewhere) == adapter_of(straight)
    for name in ("metrics.csv", "validation.csv"):
        rows = [
            [row.split(",")[:6] for row in (path / name).read_text().splitlines()] for path in (elsewhere, straight)
        ]
        assert rows[0] == rows[1]


def test_another_run_is_not_gone_on_with_and_not_covered_up_in_silence(
    tiny_run: Runner, hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_run(**PUSH, **SHORT, **{"hub.checkpoints": "true"})
    other = SHORT | {"run.dir": tmp_path / "elsewhere", "resume_from": "hub://tester/style"}
    with pytest.raises(
        ConfigError, match=r"is run smoke-\w+, and what was typed is run smoke-\w+: seed is 42 there and"
    ):
        tiny_run(**other, **{"seed": 7, "lora.seed": 42})
    assert not list((tmp_path / "elsewhere").glob("*/checkpoints"))
    assert "note: tester/style holds run" not in capsys.readouterr().out
    tiny_run(**PUSH, **SHORT, **{"seed": 7, "lora.seed": 42})
    assert "note: tester/style holds run smoke-" in capsys.readouterr().out


def test_a_run_that_never_was_to_be_pushed_can_be(
    tiny_run: Runner, hub: HubServer, repository: Callable[[], Repository], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_run(**SHORT)
    runs = str(path.parents[2])
    with pytest.raises(ConfigError, match="repo must be owner/name, got style"):
        push_later(Push(run="smoke", runs_dir=runs, repo="style"))
    with pytest.raises(ConfigError, match=r"run=smokee is not a run in .*; did you mean smoke"):
        push_later(Push(run="smokee", runs_dir=runs))
    with pytest.raises(ConfigError, match="no finished run"):
        push_later(Push(runs_dir=runs + "/nowhere"))
    assert push_later(Push(run="smoke", runs_dir=runs, repo="tester/style", private=False)) == 0
    assert not repository().private and repository().files[ADAPTER] == adapter_of(path)
