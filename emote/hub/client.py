"""The Hugging Face Hub, as far as a run needs it: may we, what is there, and one commit.

Errors are of two kinds. What the user must mend (no token, no permission, a bad name) is a ConfigError; what time may
mend (no network, too many requests, a fault of the Hub's) is NotNow.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from emote.config import HubConfig, is_hub_name
from emote.util.errors import ConfigError
from emote.util.files import hash_rest

Content = Path | bytes
LARGE = (".safetensors", ".ckpt", ".png")  # what the Hub keeps as large files
MAY_PASS = {408, 409, 412, 423, 425, 429}  # of the errors that are not the Hub's own; 412: somebody else committed
LOG_IN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write (huggingface.co/settings/tokens)"
WITHOUT = "or leave out hub.push=true"


class NotNow(Exception):
    """What was asked may succeed later. wait_seconds: how long the Hub asks to wait, None where it does not say."""

    def __init__(self, reason: str, wait_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds


@dataclass(frozen=True)
class Contents:
    """What a repository's last commit holds. digests: by path a large file's SHA-256, git's name of another's."""

    revision: str
    digests: dict[str, str]

    def has(self, path: str, content: Content) -> bool:
        known = self.digests.get(path)
        return known is not None and known in (_sha256(content), _git_name(content))


class Hub:
    """Nothing is asked before a method is called. HF_ENDPOINT and HF_TOKEN are read when this is made."""

    def __init__(self) -> None:
        import huggingface_hub
        from huggingface_hub.utils import disable_progress_bars
        from huggingface_hub.utils import logging as hub_logging

        disable_progress_bars()
        hub_logging.set_verbosity_error()
        self.token = huggingface_hub.get_token()
        self.api = huggingface_hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=self.token)

    @cached_property
    def _account(self) -> dict[str, Any]:
        if self.token is None:
            raise ConfigError(f"a push to the Hub needs a token, and there is none; {LOG_IN}, {WITHOUT}")
        with _understood("the token"):
            return dict(self.api.whoami())

    @property
    def user(self) -> str:
        """Who the token belongs to."""
        return str(self._account["name"])

    def check(self, hub: HubConfig) -> None:
        """Is there a token, may it write, and to where `hub.repo` lies? Raises ConfigError or NotNow."""
        role = (self._account.get("auth") or {}).get("accessToken", {}).get("role")
        if role == "read":
            raise ConfigError(f"a push to the Hub needs a token that may write, and this one may read alone; {LOG_IN}")
        owner = hub.repo.partition("/")[0] if hub.repo else self.user
        mine = [self.user, *(str(group.get("name")) for group in self._account.get("orgs") or [])]
        if owner.lower() not in [name.lower() for name in mine]:
            raise ConfigError(
                f"hub.repo={hub.repo} belongs to {owner}, and the token to {self.user}; its repositories can be "
                f"{' or '.join(f'{name}/…' for name in mine)}"
            )
        if hub.repo:
            self.prepare(hub.repo, hub.private)

    def name_for(self, hub: HubConfig, run: str) -> str:
        """Return the repository of a run: `hub.repo`, or one of the user's that is called like it."""
        name = re.sub(r"(?:[^A-Za-z0-9._]|\.\.+)+", "-", run).strip("-.")
        return hub.repo or f"{self.user}/{name[-96:].strip('-.')}"

    def address(self, repository: str | None) -> str:
        return f"{self.api.endpoint}/{repository}"

    def prepare(self, repository: str, private: bool) -> None:
        """Make the repository if there is none, and see that it can be written to. Raises ConfigError or NotNow."""
        from huggingface_hub import CommitOperationAdd

        assert is_hub_name(repository), repository
        with _understood(repository):
            self.api.create_repo(repository, private=private, exist_ok=True)
            # asks how a small file would be sent, which only those are told who may send it
            self.api.preupload_lfs_files(repository, [CommitOperationAdd("README.md", b"?")])

    def contents(self, repository: str) -> Contents:
        """Return what the repository holds. Raises ConfigError or NotNow."""
        with _understood(repository):
            info = self.api.model_info(repository, files_metadata=True)
        digests = {entry.rfilename: entry.lfs.sha256 if entry.lfs else entry.blob_id for entry in info.siblings or []}
        return Contents(str(info.sha), {path: digest for path, digest in digests.items() if digest})

    def run_in(self, repository: str) -> str | None:
        """`<name>-<identity>` of the run whose summary a repository holds, None without one. Raises NotNow."""
        with TemporaryDirectory() as temporary:
            try:
                file = self.download(repository, ["summary.json"], Path(temporary)) / "summary.json"
                told = json.loads(file.read_text(encoding="utf-8"))
                return f"{told['name']}-{told['identity']}"
            except (ConfigError, OSError, ValueError, KeyError, TypeError):
                return None

    def commit(
        self, repository: str, parent: str, message: str, additions: Mapping[str, Content], deletions: list[str]
    ) -> str:
        """One commit on top of `parent`; returns its revision. Raises ConfigError or NotNow, having changed nothing."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        with _understood(repository):
            adding = [CommitOperationAdd(path, content) for path, content in sorted(additions.items())]
            for operation in adding:
                # one at a time: several together the client sends from threads that the end of the process waits for
                if operation.path_in_repo.endswith(LARGE):
                    self.api.preupload_lfs_files(repository, [operation], free_memory=False)
            info = self.api.create_commit(
                repository,
                [*adding, *(CommitOperationDelete(path) for path in deletions)],
                commit_message=message,
                parent_commit=parent,
            )
        return str(info.oid)

    def download(self, repository: str, patterns: list[str], directory: Path) -> Path:
        """Return the files of the last commit that match, laid out in `directory`. Raises ConfigError or NotNow."""
        with _understood(repository):
            revision = str(self.api.model_info(repository).sha)
            self.api.snapshot_download(
                repository, revision=revision, allow_patterns=patterns, local_dir=directory, max_workers=2
            )
        return directory


@contextmanager
def _understood(what: str) -> Iterator[None]:
    """Turn the client's errors into ConfigError or NotNow. what: the repository, or "the token"."""
    try:
        yield
    except (ConfigError, NotNow):
        raise
    except Exception as error:  # the client's HTTP library, and so its errors, differ between its versions
        raise _meaning(error, what) from error


def _meaning(error: Exception, what: str) -> ConfigError | NotNow:
    response = next((r for e in _chain(error) if (r := getattr(e, "response", None)) is not None), None)
    status = getattr(response, "status_code", None)
    kinds = {kind.__name__ for e in _chain(error) for kind in type(e).__mro__}
    said = getattr(error, "server_message", None) or str(error).strip() or type(error).__name__
    reason = " ".join(str(said).split())[:160]
    if "OfflineModeIsEnabled" in kinds:
        return NotNow("HF_HUB_OFFLINE is set")
    if "HFValidationError" in kinds:
        return ConfigError(f"hub.repo={what} is not a valid repository name ({reason})")
    if "Invalid metadata in README.md" in str(error):
        return ConfigError(f"{what}: the Hub refuses the card's metadata ({reason})")
    if status is None:
        return NotNow(f"the Hub cannot be reached ({reason})")
    if status >= 500 or status in MAY_PASS:
        return NotNow(f"the Hub answers {status} ({reason})", _wait_seconds(response))
    if status == 401:
        return ConfigError(f"the Hub does not accept the token; {LOG_IN}, {WITHOUT}")
    if status == 403:
        return ConfigError(f"the token may not write to {what} ({reason}); {LOG_IN}, or set another hub.repo=")
    if status == 404:
        return ConfigError(f"the Hub has no repository {what} that this token may see")
    return ConfigError(f"the Hub refuses {what}: {status}, {reason}")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _wait_seconds(response: Any) -> float | None:
    told = response.headers.get("Retry-After", "")
    return float(told) if str(told).isdecimal() else None


def _sha256(content: Content) -> str:
    return _hashed(content, hashlib.sha256())


def _git_name(content: Content) -> str:
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    return _hashed(content, hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False))


def _hashed(content: Content, digest: Any) -> str:
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as stream:
        return hash_rest(stream, digest)
