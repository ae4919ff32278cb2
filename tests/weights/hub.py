"""A double of the Hugging Face hub's wire, as far as fetching a model file needs it.

After https://huggingface.co/docs/hub/api: ``GET /api/models/{repo}[/revision/{rev}]`` tells the files with their
LFS digests, ``HEAD|GET /{repo}/resolve/{rev}/{file}`` answers with ``X-Repo-Commit``, ``X-Linked-Size`` and
``X-Linked-Etag`` and redirects to a content network; faults are told by ``X-Error-Code``.
"""

from __future__ import annotations

import json
import re
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote, urlsplit

from tests.weights.doubles import Served, WebServer, sha256

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_INFO = re.compile(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?")
_RESOLVE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


class Hub(WebServer):
    """One repository, ``org/repo``, with ``models`` by name. ``token``: what a client must present to see it."""

    def __init__(self, models: dict[str, bytes], *, token: str = "", gated: bool = False) -> None:
        super().__init__({f"/cdn/{name}": Served(data) for name, data in models.items()})
        self.models = models
        self.token = token
        self.gated = gated
        self.extra = self._hub

    def _hub(self, request: BaseHTTPRequestHandler) -> bool:
        path = unquote(urlsplit(request.path).path)
        info, resolve = _INFO.fullmatch(path), _RESOLVE.fullmatch(path)
        if not info and not resolve:
            return False
        repo, revision = (info or resolve)[1], (info or resolve)[2]  # type: ignore[index]
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            self._fault(request, 403 if self.gated else 401, "GatedRepo" if self.gated else "RepoNotFound")
        elif repo != "org/repo":
            self._fault(request, 404, "RepoNotFound")
        elif revision not in {None, "main", "v1", COMMIT}:
            self._fault(request, 404, "RevisionNotFound")
        elif info:
            self._json(request)
        elif (data := self.models.get(resolve[3])) is None:  # type: ignore[index]
            self._fault(request, 404, "EntryNotFound")
        else:
            self._resolve(request, resolve[3], data)  # type: ignore[index]
        return True

    def _resolve(self, request: BaseHTTPRequestHandler, name: str, data: bytes) -> None:
        request.send_response(302)
        # Another host than the hub: the client asks the hub itself for the headers, and the network for the bytes.
        request.send_header("Location", f"{self.url.replace('127.0.0.1', 'localhost')}/cdn/{name}")
        request.send_header("X-Repo-Commit", COMMIT)
        request.send_header("X-Linked-Size", str(len(data)))
        request.send_header("X-Linked-Etag", f'"{sha256(data)}"')
        request.send_header("Content-Length", "0")
        request.end_headers()

    def _json(self, request: BaseHTTPRequestHandler) -> None:
        siblings = [
            {
                "rfilename": name,
                "size": len(data),
                "blobId": "0" * 40,
                "lfs": {"sha256": sha256(data), "size": len(data), "pointerSize": 134},
            }
            for name, data in self.models.items()
        ]
        about = {"id": "org/repo", "modelId": "org/repo", "sha": COMMIT, "private": False, "tags": [], "downloads": 0}
        body = json.dumps({**about, "siblings": siblings}).encode()
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def _fault(self, request: BaseHTTPRequestHandler, status: int, code: str) -> None:
        self._plain(request, status, {"X-Error-Code": code, "X-Error-Message": code})
