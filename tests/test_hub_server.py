"""The test tool itself: what the real client is told by it, and how it fails when it is told to."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from tests.hub_fixtures import hub
from tests.hub_server import HubServer, git_blob

__all__ = ["hub"]

NAME = "tester/style"
FILES = {"README.md": b"---\nlicense: mit\n---\n", "a.safetensors": b"x" * 999, "images/b.png": b"y" * 99}


def api(hub: HubServer, token: str | None = HubServer.TOKEN) -> HfApi:
    return HfApi(endpoint=hub.url, token=token or False)


def put(hub: HubServer, files: dict[str, bytes]) -> str:
    operations = [CommitOperationAdd(path, content) for path, content in files.items()]
    return str(api(hub).create_commit(NAME, operations, commit_message="files").oid)


def test_what_the_client_uploads_it_gets_back(hub: HubServer, tmp_path: Path) -> None:
    api(hub).create_repo(NAME, private=True)
    revision = put(hub, FILES)
    assert hub.repositories[NAME].private and hub.repositories[NAME].files.items() >= FILES.items()
    folder = Path(api(hub).snapshot_download(NAME, local_dir=tmp_path / "copy"))
    assert {path: (folder / path).read_bytes() for path in FILES} == FILES
    info = api(hub).model_info(NAME, files_metadata=True)
    told = {sibling.rfilename: sibling for sibling in info.siblings or []}
    assert info.sha == revision and told["README.md"].blob_id == git_blob(FILES["README.md"])
    assert told["a.safetensors"].lfs is not None and told["a.safetensors"].lfs.size == 999


def test_the_client_makes_no_commit_of_what_is_there(hub: HubServer) -> None:
    api(hub).create_repo(NAME)
    assert put(hub, FILES) == put(hub, FILES)
    assert len(hub.repositories[NAME].commits) == 2 and hub.count("^/lfs/", "PUT") == 2


def test_files_can_be_deleted_and_earlier_commits_keep_them(hub: HubServer) -> None:
    api(hub).create_repo(NAME)
    first = put(hub, FILES)
    api(hub).create_commit(NAME, [CommitOperationDelete("images/b.png")], commit_message="less")
    assert "images/b.png" not in hub.repositories[NAME].files
    assert "images/b.png" in api(hub).list_repo_files(NAME, revision=first)


def test_who_may_not_is_refused(hub: HubServer) -> None:
    api(hub).create_repo(NAME, private=True)
    for token, status in ((HubServer.READ_TOKEN, 403), ("hf_" + "x" * 34, 401)):
        with pytest.raises(HfHubHTTPError) as refused:
            api(hub, token).create_repo("tester/another")
        assert refused.value.response.status_code == status
    with pytest.raises(RepositoryNotFoundError):
        api(hub, None).model_info(NAME)
    with pytest.raises(HfHubHTTPError, match="namespace"):
        api(hub).create_repo("somebody/style")


def test_it_fails_as_it_is_told_and_always_the_same(hub: HubServer) -> None:
    def outcomes() -> list[int]:
        hub.heal()
        hub.fail(503, share=0.5, seed=3)
        found = []
        for _ in range(12):
            try:
                api(hub).whoami()
                found.append(200)
            except HfHubHTTPError as error:
                found.append(error.response.status_code)
        return found

    assert outcomes() == outcomes()
    assert set(outcomes()) == {200, 503}
    hub.heal()
    hub.fail("cut", "whoami", times=1)
    with pytest.raises(Exception, match=r"disconnected|closed|reset"):
        api(hub).whoami()
    assert api(hub).whoami()["name"] == "tester"


def test_an_answer_can_be_lost_after_the_deed(hub: HubServer) -> None:
    hub.fail("cut", "repos/create", times=1, after=True)
    with pytest.raises(Exception, match=r"disconnected|closed|reset"):
        api(hub).create_repo(NAME)
    assert NAME in hub.repositories


def test_it_comes_back_where_it_was_with_what_it_had(hub: HubServer) -> None:
    api(hub).create_repo(NAME)
    hub.stop()
    with pytest.raises(Exception, match=r"refused|disconnected|closed|reset"):
        api(hub).model_info(NAME)
    hub.start()
    assert api(hub).model_info(NAME).id == NAME
