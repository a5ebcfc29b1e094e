"""A Hugging Face Hub on loopback, for the real client: as much of it as publishing and downloading one model needs.

    with HubServer() as hub:
        hub.fail(500, share=0.2)                    # one request in five, always the same ones
        HfApi(endpoint=hub.url, token=hub.TOKEN).create_repo(f"{hub.USER}/style", private=True)
        hub.repositories["tester/style"].files      # what the last commit holds

Spoken are: whoami, create, model info (with and without blobs), tree, validate-yaml, preupload, LFS batch, upload and
verify, commit, and resolve (HEAD and GET). Repositories are models with one branch, `main`; each commit keeps its
files whole.

Not covered: the client's Xet transport (tests switch it off with HF_HUB_DISABLE_XET), LFS uploads in several parts,
data sets and Spaces, branches, tags and pull requests, gated repositories, pagination, ranges, redirects to another
host, and the rules of the Hub for names and cards beyond those below.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

LFS_SUFFIXES = (".safetensors", ".ckpt", ".png", ".bin")
GIT_ATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES).encode()
NAME = re.compile(r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?")


def git_blob(content: bytes) -> str:
    """The name that git gives a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def lfs_pointer(content: bytes) -> bytes:
    digest = hashlib.sha256(content).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n".encode()


@dataclass
class Commit:
    oid: str
    message: str
    files: dict[str, bytes]


@dataclass
class Repository:
    name: str
    private: bool
    commits: list[Commit] = field(default_factory=list)

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1].files

    def commit(self, message: str, files: dict[str, bytes]) -> Commit:
        facts = [self.name, str(len(self.commits)), message, *(f"{p}{git_blob(c)}" for p, c in sorted(files.items()))]
        made = Commit(hashlib.sha1("\0".join(facts).encode()).hexdigest(), message, files)
        self.commits.append(made)
        return made

    def at(self, revision: str) -> Commit | None:
        if revision == "main":
            return self.commits[-1]
        return next((commit for commit in self.commits if commit.oid == revision), None)


@dataclass
class Fault:
    """What goes wrong: a status, `cut` (the connection ends without an answer) or `slow` (it comes `seconds` late).

    path: a regular expression; method: None for all. times: how often, None for ever. share: of the requests that
    match, drawn from a generator of its own. headers: of the answer. after: only once the request was carried out, as
    when an answer is lost.
    """

    what: int | str
    path: str = ""
    method: str | None = None
    times: int | None = None
    share: float = 1.0
    seconds: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    after: bool = False
    seed: int = 0
    happened: int = 0

    def __post_init__(self) -> None:
        self._draws = random.Random(self.seed)

    def strikes(self, method: str, path: str) -> bool:
        if (self.method and self.method != method) or not re.search(self.path, path):
            return False
        if (self.times is not None and self.happened >= self.times) or self._draws.random() >= self.share:
            return False
        self.happened += 1
        return True


class HubServer:
    """Serves from `with` to its end. `requests` lists (method, path) of all that arrived."""

    USER, TOKEN, READ_TOKEN = "tester", "hf_" + "w" * 34, "hf_" + "r" * 34
    ORGANISATION = "studio"  # USER may write to it; everything else belongs to others

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.blobs: dict[str, bytes] = {}  # LFS objects by SHA-256
        self.requests: list[tuple[str, str]] = []
        self.faults: list[Fault] = []
        self.lock = threading.RLock()
        self.stopping = threading.Event()  # ends what is slow
        self._server: ThreadingHTTPServer | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> HubServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Also after `stop`: at the same address, with everything that it had."""
        self.stopping.clear()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = _Server(("127.0.0.1", self._port), handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        self.stopping.set()
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def fail(self, what: int | str, path: str = "", **how: Any) -> Fault:
        """Make requests fail from now on; the newest rule is asked first. See `Fault`."""
        fault = Fault(what, path, **how)
        self.faults.insert(0, fault)
        return fault

    def heal(self) -> None:
        self.faults.clear()

    def count(self, path: str, method: str | None = None) -> int:
        with self.lock:
            return sum(method in (None, m) and re.search(path, p) is not None for m, p in self.requests)

    def files_of_every_commit(self) -> Iterator[tuple[str, bytes]]:
        for repository in self.repositories.values():
            for commit in repository.commits:
                yield from commit.files.items()

    def struck(self, method: str, path: str) -> Fault | None:
        with self.lock:
            self.requests.append((method, path))
            return next((fault for fault in self.faults if fault.strikes(method, path)), None)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.connections: list[socket.socket] = []

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.append(request)
        super().process_request(request, client_address)

    def server_close(self) -> None:
        """Also the connections that clients keep."""
        super().server_close()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients that leave are part of the tests


class _Answer(Exception):
    """Ends a request with an error, as the Hub words it."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        self.status, self.message, self.code = status, message, code


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_GET

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        self.at, self.query = unquote(parts.path), parse_qs(parts.query)
        self.body = self._read()
        fault = self.hub.struck(self.command, self.at)
        if fault and fault.what == "slow":
            self.hub.stopping.wait(fault.seconds)
            fault = None
        if fault and not fault.after:
            return self._strike(fault)
        try:
            with self.hub.lock:
                status, headers, content = self._route()
        except _Answer as answer:
            headers = {"X-Error-Message": answer.message} | ({"X-Error-Code": answer.code} if answer.code else {})
            status, content = answer.status, json.dumps({"error": answer.message}).encode()
        if fault:
            return self._strike(fault)
        self._send(status, headers, content)

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _strike(self, fault: Fault) -> None:
        if isinstance(fault.what, int):
            self._send(fault.what, fault.headers, json.dumps({"error": "told to fail"}).encode())
            return
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in (
            {"Content-Type": "application/json", "Content-Length": str(len(content))} | headers
        ).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    # what is asked ---------------------------------------------------------------------------------------------------

    def _route(self) -> tuple[int, dict[str, str], bytes]:
        name = r"(?P<name>[^/]+/[^/]+)"
        routes = (
            ("GET", r"/api/whoami-v2", self._whoami),
            ("POST", r"/api/repos/create", self._create),
            ("POST", r"/api/validate-yaml", self._validate),
            ("POST", rf"/api/models/{name}/preupload/(?P<revision>.+)", self._preupload),
            ("POST", rf"/api/models/{name}/commit/(?P<revision>.+)", self._commit),
            ("GET", rf"/api/models/{name}/tree/(?P<revision>[^/]+)", self._tree),
            ("GET", rf"/api/models/{name}(?:/revision/(?P<revision>.+))?", self._info),
            ("POST", rf"/{name}\.git/info/lfs/objects/batch", self._batch),
            ("PUT", r"/lfs/(?P<oid>\w+)", self._upload),
            ("POST", r"/lfs-verify", self._verify),
            ("GET|HEAD", rf"/{name}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", self._resolve),
        )
        for method, pattern, answer in routes:
            found = re.fullmatch(pattern, self.at)
            if found and self.command in method.split("|"):
                result = answer(**found.groupdict())
                return result if isinstance(result, tuple) else (200, {}, json.dumps(result).encode())
        raise _Answer(404, f"the test server does not speak {self.command} {self.at}")

    def _role(self) -> str | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token in ("", self.hub.TOKEN, self.hub.READ_TOKEN):
            return {self.hub.TOKEN: "write", self.hub.READ_TOKEN: "read"}.get(token)
        raise _Answer(401, "Invalid credentials in Authorization header")

    def _may_write(self, owner: str) -> None:
        if self._role() is None:
            raise _Answer(401, "Invalid username or password.")
        if self._role() != "write" or owner not in (self.hub.USER, self.hub.ORGANISATION):
            raise _Answer(403, f'You don\'t have the rights to create a model under the namespace "{owner}"')

    def _repository(self, name: str) -> Repository:
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and self._role() is None):
            raise _Answer(404, "Repository not found", "RepoNotFound")
        return repository

    def _at(self, name: str, revision: str | None) -> Commit:
        commit = self._repository(name).at(revision or "main")
        if commit is None:
            raise _Answer(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    def _whoami(self) -> Any:
        role = self._role()
        if role is None:
            raise _Answer(401, "Invalid username or password.")
        organisations = [{"type": "org", "name": self.hub.ORGANISATION, "roleInOrg": "write"}]
        token = {"type": "access_token", "accessToken": {"displayName": "tests", "role": role}}
        return {"type": "user", "name": self.hub.USER, "orgs": organisations, "auth": token}

    def _create(self) -> Any:
        asked = json.loads(self.body)
        owner = asked.get("organization") or self.hub.USER
        if not NAME.fullmatch(asked["name"]):
            raise _Answer(400, f"Invalid repo name: {asked['name']}")
        name = f"{owner}/{asked['name']}"
        self._may_write(owner)
        address = {"url": f"{self.hub.url}/{name}"}
        if name in self.hub.repositories:
            message = json.dumps({"error": "You already created this model repo", **address}).encode()
            return 409, {}, message
        private = asked.get("visibility") == "private" or asked.get("private") is True
        made = self.hub.repositories[name] = Repository(name, private)
        made.commit("initial commit", {".gitattributes": GIT_ATTRIBUTES})
        return address

    def _validate(self) -> Any:
        front = re.match(r"---\n(.*?)\n---\n", json.loads(self.body)["content"], re.DOTALL)
        try:
            values = yaml.safe_load(front[1]) if front else None
        except yaml.YAMLError as error:
            return 400, {}, json.dumps({"errors": [{"message": str(error)}], "warnings": []}).encode()
        missing = [] if isinstance(values, dict) else [{"message": "empty or missing yaml metadata in repo card"}]
        return {"errors": [], "warnings": missing}

    def _preupload(self, name: str, revision: str) -> Any:
        commit = self._at(name, revision)
        self._may_write(name.split("/")[0])
        told = []
        for asked in json.loads(self.body)["files"]:
            path, there = asked["path"], commit.files.get(asked["path"])
            large = path.endswith(LFS_SUFFIXES) or asked["size"] > 10_000_000
            known = None if there is None else hashlib.sha256(there).hexdigest() if large else git_blob(there)
            told.append(
                {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": known}
            )
        return {"files": told}

    def _batch(self, name: str) -> Any:
        self._repository(name)
        self._may_write(name.split("/")[0])
        objects = []
        for asked in json.loads(self.body)["objects"]:
            entry = {"oid": asked["oid"], "size": asked["size"]}
            if asked["oid"] not in self.hub.blobs:
                upload = {"href": f"{self.hub.url}/lfs/{asked['oid']}"}
                entry["actions"] = {"upload": upload, "verify": {"href": f"{self.hub.url}/lfs-verify"}}
            objects.append(entry)
        return {"transfer": "basic", "objects": objects}

    def _upload(self, oid: str) -> Any:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise _Answer(400, "the content is not what was announced")
        self.hub.blobs[oid] = self.body
        return {}

    def _verify(self) -> Any:
        asked = json.loads(self.body)
        if len(self.hub.blobs.get(asked["oid"], b"")) != asked["size"]:
            raise _Answer(404, "not uploaded")
        return {}

    def _commit(self, name: str, revision: str) -> Any:
        repository = self._repository(name)
        self._may_write(name.split("/")[0])
        files, header, entries = dict(repository.files), {}, self.body.decode().splitlines()
        for entry in map(json.loads, entries):
            value = entry["value"]
            if entry["key"] == "header":
                header = value
            elif entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                if value["oid"] not in self.hub.blobs:
                    raise _Answer(400, f"LFS pointer of {value['path']} points to nothing")
                files[value["path"]] = self.hub.blobs[value["oid"]]
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
        if header.get("parentCommit", repository.commits[-1].oid) != repository.commits[-1].oid:
            raise _Answer(412, "A commit has happened since. Please refresh and try again.")
        made = repository.commit(header["summary"], files)
        return {"success": True, "commitOid": made.oid, "commitUrl": f"{self.hub.url}/{name}/commit/{made.oid}"}

    def _info(self, name: str, revision: str | None) -> Any:
        commit, repository = self._at(name, revision), self._repository(name)
        siblings: list[dict[str, Any]] = []
        for path, content in sorted(commit.files.items()):
            entry: dict[str, Any] = {"rfilename": path}
            if "blobs" in self.query:
                entry |= self._described(path, content, "blobId")
            siblings.append(entry)
        return {"_id": "0", "id": name, "sha": commit.oid, "private": repository.private, "siblings": siblings,
                "tags": [], "downloads": 0, "likes": 0}  # fmt: skip

    def _tree(self, name: str, revision: str) -> Any:
        files = sorted(self._at(name, revision).files.items())
        return [{"type": "file", "path": path, **self._described(path, content, "oid")} for path, content in files]

    def _described(self, path: str, content: bytes, oid: str) -> dict[str, Any]:
        if not path.endswith(LFS_SUFFIXES):
            return {"size": len(content), oid: git_blob(content)}
        digest, pointer = hashlib.sha256(content).hexdigest(), lfs_pointer(content)
        lfs = {"size": len(content), "sha256": digest, "oid": digest, "pointerSize": len(pointer)}
        return {"size": len(content), oid: git_blob(pointer), "lfs": lfs}

    def _resolve(self, name: str, revision: str, path: str) -> Any:
        commit = self._at(name, revision)
        content = commit.files.get(path)
        if content is None:
            raise _Answer(404, "Entry not found", "EntryNotFound")
        large = path.endswith(LFS_SUFFIXES)
        tag = hashlib.sha256(content).hexdigest() if large else git_blob(content)
        headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{tag}"', "Content-Type": "application/octet-stream"}
        return 200, headers, content
