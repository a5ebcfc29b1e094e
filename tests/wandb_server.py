"""What W&B's client speaks to, as far as a run needs it: a process on this machine that keeps what it is sent.

GraphQL for runs and files, the file stream for history and summary, and plain uploads. Kept as one JSON object and a
directory of files, as W&B would show them: history by its own line numbers, so that a resumed run's go on.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[1]
ENTITY = "tester"


@dataclass
class Stored:
    """A server's address, and what it has kept so far."""

    url: str
    directory: Path

    def runs(self) -> dict[str, Any]:
        """By `entity/project/id`: name, group, tags, notes, config, history, summary, files, exit code."""
        return json.loads((self.directory / "runs.json").read_text())

    def file(self, run: str, name: str) -> Path:
        return self.directory / "files" / run / name


@contextmanager
def wandb_server(directory: Path) -> Iterator[Stored]:
    """A process of its own, until the block ends."""
    command = [sys.executable, str(Path(__file__)), str(directory)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Stored(f"http://127.0.0.1:{int(process.stdout.readline())}", directory)
    finally:
        process.kill()
        process.communicate()


class _Store:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.runs: dict[str, Any] = {}
        self.unknown: list[str] = []
        self._lock = Lock()
        self.save()

    def save(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        whole = self.directory / "runs.json.new"
        whole.write_text(json.dumps(self.runs))
        whole.replace(self.directory / "runs.json")
        (self.directory / "unknown.json").write_text(json.dumps(self.unknown))

    def change(self, key: str, work: Any) -> Any:
        with self._lock:
            run = self.runs.setdefault(key, {"config": {}, "history": [], "summary": {}, "files": [], "exit": None})
            answer = work(run)
            self.save()
            return answer

    def answer(self, query: str, values: dict[str, Any], address: str) -> dict[str, Any]:
        """What W&B answers to a GraphQL operation, which is recognised by the field that it asks for."""
        project, name = values.get("project") or "uncategorized", values.get("name") or values.get("run") or ""
        key = f"{values.get('entity') or ENTITY}/{project}/{name}"
        if "upsertBucket" in query:
            return {"upsertBucket": self.change(key, lambda run: self._upsert(run, values, project, name))}
        if "createRunFiles" in query:
            files = [
                {"name": file, "uploadUrl": f"{address}/upload/{key}/{file}", "__typename": "File"}
                for file in values["files"]
            ]
            return {"createRunFiles": {"runID": name, "uploadHeaders": [], "files": files}}
        if found := re.search(r"\b(createArtifact|createArtifactManifest|updateArtifactManifest|createArtifactFiles|"
                              r"commitArtifact)\(", query):  # fmt: skip
            return {found[1]: self._artifact(found[1], values.get("input") or values, address)}
        if re.search(r"\bbucket\(", query) and "model" in query:
            bucket = self._resumed(self.runs[key]) if key in self.runs else None
            return {"model": {"bucket": bucket, "name": project, "entity": {"name": ENTITY}}}
        if "artifactType" in query and query.strip().startswith("query"):
            return {"project": {"artifact": None, "artifactType": None}}
        if "viewer" in query:
            teams = {"edges": [{"node": {"name": ENTITY}}]}
            viewer = {"id": "u", "entity": ENTITY, "username": ENTITY, "flags": "{}", "teams": teams}
            info = {"cliVersionInfo": {"max_cli_version": "99.0.0"}, "features": [], "latestLocalVersionInfo": None}
            return {"viewer": viewer, "serverInfo": info}
        if "serverInfo" in query:
            return {"serverInfo": {"cliVersionInfo": {}, "features": [], "latestLocalVersionInfo": None}}
        if "__type" in query or "__schema" in query:
            return {name: {"fields": [], "inputFields": []} for name in re.findall(r"(\w+)\s*:\s*__type", query)}
        self.unknown.append(query)
        return {}

    def _upsert(self, run: dict[str, Any], values: dict[str, Any], project: str, name: str) -> dict[str, Any]:
        inserted = "name" not in run
        run["name"] = values.get("displayName") or run.get("name") or name
        run["group"] = values.get("groupName") or run.get("group")
        run["notes"] = values.get("notes") or run.get("notes")
        run["tags"] = values.get("tags") or run.get("tags") or []
        if values.get("config"):
            run["config"] |= json.loads(values["config"])
        bucket = {
            "id": name, "name": name, "displayName": run["name"], "description": None, "config": None,
            "sweepName": None, "historyLineCount": len(run["history"]),
            "project": {"id": "p", "name": project, "entity": {"id": "e", "name": values.get("entity") or ENTITY}},
        }  # fmt: skip
        return {"bucket": bucket, "inserted": inserted}

    def _artifact(self, asked: str, values: dict[str, Any], address: str) -> dict[str, Any]:
        """Artifacts are kept as files only: those of tables, and of adapters."""

        def place(artifact: str, name: str) -> dict[str, Any]:
            return {"uploadUrl": f"{address}/upload/artifacts/of/{artifact}/{name}", "uploadHeaders": []}

        if asked == "createArtifact":
            name = (values.get("artifactCollectionNames") or [values.get("artifactCollectionName")])[0]
            sequence = {"id": "s", "latestArtifact": None}
            return {"artifact": {"id": name, "state": "PENDING", "artifactSequence": sequence}}
        if asked == "createArtifactFiles":
            nodes = [
                {"id": file["name"], "name": file["name"], "displayName": file["name"], "storagePath": file["name"],
                 "uploadMultipartUrls": None, "artifact": {"id": file["artifactID"]},
                 **place(file["artifactID"], file["name"])}
                for file in values["artifactFiles"]
            ]  # fmt: skip
            return {"files": {"edges": [{"node": node} for node in nodes]}}
        if asked == "commitArtifact":
            return {"artifact": {"id": values.get("artifactID"), "digest": "d"}}
        artifact = values.get("artifactID") or values.get("artifactManifestID")
        return {"artifactManifest": {"id": artifact, "file": {"id": "m", **place(str(artifact), "manifest.json")}}}

    @staticmethod
    def _resumed(run: dict[str, Any]) -> dict[str, Any]:
        """What a run that goes on is told of itself."""
        last = run["history"][-1] if run["history"] else {}
        return {
            "id": run["name"], "name": run["name"], "summaryMetrics": json.dumps(run["summary"]),
            "displayName": run["name"], "logLineCount": 0, "historyLineCount": len(run["history"]),
            "eventsLineCount": 0, "historyTail": json.dumps([json.dumps(last)]), "eventsTail": "[]",
            "config": json.dumps(run["config"]), "tags": run["tags"], "wandbConfig": json.dumps({"t": 1}),
        }  # fmt: skip

    def stream(self, key: str, sent: dict[str, Any]) -> None:
        def keep(run: dict[str, Any]) -> None:
            for name, part in (sent.get("files") or {}).items():
                rows = [json.loads(line) for line in part["content"]] if name.endswith(".jsonl") else []
                if name == "wandb-history.jsonl":
                    run["history"][part["offset"] :] = rows
                elif name == "wandb-summary.json":
                    run["summary"] = json.loads(part["content"][-1])
            if sent.get("complete"):
                run["exit"] = sent.get("exitcode")

        self.change(key, keep)


def _handler(store: _Store) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                content = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    content += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return content
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def _send(self, value: Any) -> None:
            content = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            import gzip

            body = self._body()
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path.endswith("/graphql"):
                asked = json.loads(body)
                address = f"http://{self.headers['Host']}"
                self._send({"data": store.answer(asked["query"], asked.get("variables") or {}, address)})
            elif found := re.fullmatch(r"/files/(.+?/.+?/.+?)/file_stream", self.path):
                store.stream(found[1], json.loads(body))
                self._send({})
            else:  # what the client tells of itself
                self._send({})

        def do_PUT(self) -> None:
            found = re.fullmatch(r"/upload/([^/]+/[^/]+/[^/]+)/(.+)", unquote(self.path))
            assert found, self.path
            key, file = found.groups()
            path = store.directory / "files" / key / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self._body())
            store.change(key, lambda run: run["files"].append(file))
            self._send({})

        def do_GET(self) -> None:
            self._send({})

        def log_message(self, *_: Any) -> None:
            """Nothing: the tests look at what is kept."""

    return Handler


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(_Store(Path(sys.argv[1]))))
    print(server.server_port, flush=True)
    server.serve_forever()
