"""A hub on the loopback: repositories in memory, and the requests that came."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub:
    """Commits of repositories, newest last, and all requests; `address` is for HF_ENDPOINT."""

    def __init__(self):
        self.repositories, self.requests, self.token = {}, [], None
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": self}))
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def commit(self, repository, files):
        """Add files to a repository; the new commit."""
        commits = self.repositories.setdefault(repository, [])
        whole = {**(commits[-1][1] if commits else {}), **files}
        oid = hashlib.sha1(repr((len(commits), sorted(whole.items()))).encode()).hexdigest()
        commits.append((oid, whole))
        return oid

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, content=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def json(self, value, status=200):
        self.answer(status, json.dumps(value).encode(), Content_Type="application/json")

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.partition("?")[0]
        self.hub.requests.append((self.command, path))
        owner, name, _, revision, file = [*path.strip("/").split("/", 4), *[""] * 5][:5]
        commits = self.hub.repositories.get(f"{owner}/{name}")
        if commits is None:
            return self.answer(404, X_Error_Code="RepoNotFound")
        found = [one for one in commits if revision in (one[0], "main" if one is commits[-1] else None)]
        if not found:
            return self.answer(404, X_Error_Code="RevisionNotFound")
        ((oid, files),) = found
        if file not in files:
            return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=oid)
        etag = hashlib.sha256(files[file]).hexdigest()
        return self.answer(200, files[file], ETag=f'"{etag}"', X_Repo_Commit=oid)

    def do_POST(self):
        path = self.path.partition("?")[0]
        self.hub.requests.append((self.command, path))
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.hub.token and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return self.json({"error": "Invalid username or password."}, 401)
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
            there = name in self.hub.repositories
            self.hub.repositories.setdefault(name, [])
            return self.json({"url": f"{self.hub.address}/{name}", "id": name}, 409 if there else 200)
        if path == "/api/validate-yaml":
            return self.json({"errors": [], "warnings": []})
        repository, _, what = path.removeprefix("/api/models/").rpartition("/main")[0].rpartition("/")
        if what == "preupload":
            files = json.loads(body)["files"]
            return self.json(
                {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
            )
        lines = [json.loads(line) for line in body.splitlines()]
        files = {
            one["value"]["path"]: base64.b64decode(one["value"]["content"]) for one in lines if one["key"] == "file"
        }
        oid = self.hub.commit(repository, files)
        return self.json(
            {"success": True, "commitOid": oid, "commitUrl": f"{self.hub.address}/{repository}/commit/{oid}"}
        )
