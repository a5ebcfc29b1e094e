"""What the Hub's answers mean: the user must mend it, or time may."""

from __future__ import annotations

from pathlib import Path

import pytest

from emote.config import HubConfig
from emote.hub.client import Contents, Hub, NotNow
from emote.util.errors import ConfigError
from tests.hub_server import HubServer, git_blob

NAME = "tester/style"


def wanted(repo: str | None = NAME) -> HubConfig:
    return HubConfig(push=True, repo=repo, private=True, every_steps=None, checkpoints=False)


def test_the_check_makes_the_repository_private_and_leaves_it_empty(hub: HubServer) -> None:
    Hub().check(wanted())
    assert hub.repositories[NAME].private and list(hub.repositories[NAME].files) == [".gitattributes"]
    Hub().check(wanted())
    assert len(hub.repositories[NAME].commits) == 1


def test_without_a_token_nobody_is_asked(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ConfigError, match=r"needs a token.*hf auth login.*HF_TOKEN.*hub\.push=true"):
        Hub().check(wanted())
    assert hub.requests == []


@pytest.mark.parametrize(
    ("token", "repo", "told"),
    [
        ("hf_" + "x" * 34, NAME, "does not accept the token; log in"),
        (HubServer.READ_TOKEN, NAME, "needs a token that may write"),
        (HubServer.TOKEN, "somebody/style", r"belongs to somebody, and the token to tester.*tester/… or studio/…"),
    ],
)
def test_who_may_not_write_is_told_before_anything_else(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, token: str, repo: str, told: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(ConfigError, match=told):
        Hub().check(wanted(repo))


def test_one_may_write_to_an_organisation_of_ones_own(hub: HubServer) -> None:
    Hub().check(wanted("studio/style"))
    assert "studio/style" in hub.repositories


def test_a_token_that_may_not_write_to_this_repository_is_found_out(hub: HubServer) -> None:
    hub.fail(403, "preupload")
    with pytest.raises(ConfigError, match=r"may not write to tester/style.*another hub\.repo="):
        Hub().check(wanted())


@pytest.mark.parametrize("what", [408, 409, 412, 429, 500, 502, 503, 504, "cut"])
def test_what_time_may_mend_is_not_the_users_fault(hub: HubServer, what: int | str) -> None:
    Hub().check(wanted())
    hub.fail(what, "^/api/models")
    with pytest.raises(NotNow, match="cannot be reached" if what == "cut" else str(what)):
        Hub().contents(NAME)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413])
def test_what_time_does_not_mend_is(hub: HubServer, status: int) -> None:
    Hub().check(wanted())
    hub.fail(status, "^/api/models")
    with pytest.raises(ConfigError):
        Hub().contents(NAME)


def test_the_hub_says_how_long_to_wait(hub: HubServer) -> None:
    Hub().check(wanted())
    hub.fail(429, "^/api/models", headers={"Retry-After": "7"})
    with pytest.raises(NotNow) as told:
        Hub().contents(NAME)
    assert told.value.wait_seconds == 7


def test_a_hub_that_is_not_there_is_not_now(hub: HubServer) -> None:
    hub.stop()
    with pytest.raises(NotNow, match="cannot be reached"):
        Hub().check(wanted())


@pytest.mark.parametrize(
    ("run", "name"),
    [
        ("emote-0123456789ab", "tester/emote-0123456789ab"),
        ("été à la mer-0123456789ab", "tester/t-la-mer-0123456789ab"),
        (f"{'x' * 120}-0123456789ab", f"tester/{'x' * 83}-0123456789ab"),
        ("..a--b..-0123456789ab", "tester/a-b-0123456789ab"),
    ],
)
def test_a_runs_name_becomes_one_that_the_hub_takes(hub: HubServer, run: str, name: str) -> None:
    assert Hub().name_for(wanted(None), run) == name
    Hub().prepare(name, private=True)


def test_a_commit_is_made_on_top_of_what_was_seen_or_not_at_all(hub: HubServer) -> None:
    ours = Hub()
    ours.check(wanted())
    seen = ours.contents(NAME).revision
    ours.commit(NAME, seen, "first", {"a.txt": b"1"}, [])
    with pytest.raises(NotNow, match="412"):
        ours.commit(NAME, seen, "second", {"a.txt": b"2"}, [])
    assert hub.repositories[NAME].files["a.txt"] == b"1"


def test_contents_know_a_file_by_what_it_holds(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    there = Contents(
        "r",
        {"small": git_blob(b"content"), "large": "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"},
    )
    for path in ("small", "large"):
        assert there.has(path, file) and there.has(path, b"content") and not there.has(path, b"other")
    assert not there.has("nowhere", file)
