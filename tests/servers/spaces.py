"""The part of the Hugging Face hub that makes and finds Spaces, over real HTTP on loopback.

It keeps what is committed, and refuses what the hub refuses: unknown tokens, a header that it
can't read, binary or large files that did not come as large files, and hardware that an account
doesn't have.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import yaml

TOKEN = "hf_ForNothingButTheTests"
USER = "someone"
COMMIT = "0123456789abcdef0123456789abcdef01234567"

_LARGE = 10 * 10**6  # bytes: more must not be in git itself


@dataclass
class Space:
    """A repository with what runs of it; ``host`` is where it is reached."""

    hardware: str | None = None
    private: bool = False
    host: str | None = None
    variables: dict[str, str] = field(default_factory=dict)
    volumes: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)


class Refused(Exception):
    """An answer that is none of success: its status and the hub's words."""

    def __init__(self, status: int, words: str, code: str = "") -> None:
        super().__init__(words)
        self.status, self.words, self.code = status, words, code


class Hub:
    """``paid``: whether the account may have a Space on hardware other than ZeroGPU."""

    def __init__(self, *, paid: bool = True, **spaces: Space) -> None:
        self.paid = paid
        self.spaces: dict[str, Space] = dict(spaces)
        self.buckets: dict[str, bool] = {}  # name → whether it is private
        self.url = ""
        self._objects: dict[str, bytes] = {}

    def answer(self, method: str, path: str, token: str | None, body: bytes) -> Any:
        """What a request is answered with, as JSON has it; raises ``Refused``."""
        for verb, pattern, function in _ROUTES:
            found = re.fullmatch(pattern, path)
            if verb == method and found:
                if function in _NEEDS_TOKEN and token != TOKEN:
                    raise Refused(401, "Invalid username or password.")
                return function(self, *found.groups(), body)
        raise Refused(404, f"Sorry, we can't find {method} {path}.")

    def whoami(self, body: bytes) -> Any:
        return {"type": "user", "name": USER, "orgs": [], "isPro": self.paid, "auth": {}}

    def create(self, body: bytes) -> Any:
        wish = json.loads(body)
        name = f"{wish['organization'] or USER}/{wish['name']}"
        if name.split("/")[0] != USER:
            raise Refused(403, f"You don't have the rights to create a space under {name}.")
        if name in self.spaces:
            raise Refused(409, "You already created this space repo")
        if not self.paid and wish.get("hardware") != "zero-a10g":
            raise Refused(402, "Subscribe to PRO to host Gradio and Docker Spaces.")
        assert (wish["type"], wish["sdk"]) == ("space", "gradio")
        self.spaces[name] = Space(
            hardware=wish.get("hardware"),
            private=wish.get("visibility") == "private",
            variables={each["key"]: each["value"] for each in wish.get("variables", [])},
            volumes=self._checked(wish.get("volumes", [])),
            files={".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"},
        )
        return {"url": f"{self.url}/spaces/{name}", "name": name}

    def info(self, name: str, _: str | None, body: bytes) -> Any:
        space = self._space(name)
        siblings = [{"rfilename": path} for path in space.files]
        return {"id": name, "sha": COMMIT, "siblings": siblings, "private": space.private,
                "host": space.host, "likes": 0, "tags": []}  # fmt: skip

    def host(self, name: str, body: bytes) -> Any:
        return {"host": self._space(name).host}

    def runtime(self, name: str, body: bytes) -> Any:
        space = self._space(name)
        hardware = {"current": space.hardware, "requested": space.hardware}
        return {"stage": "RUNNING", "hardware": hardware, "volumes": space.volumes}

    def tree(self, name: str, body: bytes) -> Any:
        return [
            {"type": "file", "path": path, "size": len(data), "oid": COMMIT}
            for path, data in self._space(name).files.items()
        ]

    def file(self, name: str, path: str, body: bytes) -> bytes:
        files = self._space(name).files
        if path not in files:
            raise Refused(404, "Entry not found", "EntryNotFound")
        return files[path]

    def validate(self, body: bytes) -> Any:
        _, header, _ = json.loads(body)["content"].split("---\n", 2)
        facts = yaml.safe_load(header)
        wrong = [name for name in ("title", "sdk", "app_file") if not facts.get(name)]
        wrong += ["short_description"] if len(facts.get("short_description", "")) > 60 else []
        if wrong:
            errors = [{"message": f'"{name}" is wrong'} for name in wrong]
            raise Refused(400, json.dumps({"errors": errors, "warnings": []}))
        return {"errors": [], "warnings": []}

    def preupload(self, name: str, body: bytes) -> Any:
        self._space(name)
        return {
            "files": [
                {"path": each["path"], "shouldIgnore": False, "uploadMode":
                 "lfs" if _is_large(base64.b64decode(each["sample"]), each["size"]) else "regular"}
                for each in json.loads(body)["files"]
            ]
        }  # fmt: skip

    def batch(self, name: str, body: bytes) -> Any:
        self._space(name)
        return {
            "transfer": "basic",
            "objects": [
                {"oid": each["oid"], "size": each["size"], "actions":
                 {"upload": {"href": f"{self.url}/objects/{each['oid']}"}}}
                for each in json.loads(body)["objects"]
            ],
        }  # fmt: skip

    def store(self, oid: str, body: bytes) -> Any:
        assert hashlib.sha256(body).hexdigest() == oid
        self._objects[oid] = body
        return {}

    def commit(self, name: str, body: bytes) -> Any:
        space = self._space(name)
        for key, value in (json.loads(line).values() for line in body.splitlines()):
            if key == "file":
                data = base64.b64decode(value["content"])
                if _is_large(data, len(data)):
                    raise Refused(400, f"{value['path']} must be stored as a large file.")
                space.files[value["path"]] = data
            elif key == "lfsFile":
                space.files[value["path"]] = self._objects[value["oid"]]
                space.large.add(value["path"])
            elif key == "deletedFile":
                del space.files[value["path"]]
        return {"commitUrl": f"{self.url}/spaces/{name}/commit/{COMMIT}", "commitOid": COMMIT}

    def set_variable(self, name: str, body: bytes) -> Any:
        given = json.loads(body)
        variables = self._space(name).variables
        variables[given["key"]] = given["value"]
        return {key: {"value": value} for key, value in variables.items()}

    def set_volumes(self, name: str, body: bytes) -> Any:
        self._space(name).volumes = self._checked(json.loads(body)["volumes"])
        return {}

    def set_hardware(self, name: str, body: bytes) -> Any:
        self._space(name).hardware = json.loads(body)["flavor"]
        return self.runtime(name, body)

    def create_bucket(self, name: str, body: bytes) -> Any:
        name = name.replace("me/", f"{USER}/", 1)
        if name in self.buckets:
            raise Refused(409, json.dumps({"error": "You already created this bucket",
                                           "url": f"{self.url}/buckets/{name}"}))  # fmt: skip
        self.buckets[name] = json.loads(body).get("visibility") == "private"
        return {"url": f"{self.url}/buckets/{name}"}

    def _space(self, name: str) -> Space:
        if name not in self.spaces:
            raise Refused(404, "Repository not found", "RepoNotFound")
        return self.spaces[name]

    def _checked(self, volumes: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for volume in volumes:
            if volume["type"] == "bucket" and volume["source"] not in self.buckets:
                raise Refused(400, f"There is no bucket {volume['source']}.")
        return volumes


def _is_large(sample: bytes, size: int) -> bool:
    return size > _LARGE or b"\0" in sample or sample.startswith(b"\x89PNG")


_Route = Callable[..., Any]
_NAME = r"([\w.-]+/[\w.-]+)"
_SPACE = rf"/api/spaces/{_NAME}"
_ROUTES: list[tuple[str, str, _Route]] = [
    ("GET", "/api/whoami-v2", Hub.whoami),
    ("POST", "/api/repos/create", Hub.create),
    ("GET", rf"{_SPACE}/host", Hub.host),
    ("GET", rf"{_SPACE}/runtime", Hub.runtime),
    ("GET", rf"{_SPACE}/tree/main", Hub.tree),
    ("GET", rf"{_SPACE}(/revision/\w+)?", Hub.info),
    ("GET", rf"/spaces/{_NAME}/resolve/main/(.+)", Hub.file),
    ("POST", "/api/validate-yaml", Hub.validate),
    ("POST", rf"{_SPACE}/preupload/main", Hub.preupload),
    ("POST", rf"/spaces/{_NAME}\.git/info/lfs/objects/batch", Hub.batch),
    ("PUT", "/objects/([0-9a-f]{64})", Hub.store),
    ("POST", rf"{_SPACE}/commit/main", Hub.commit),
    ("POST", rf"{_SPACE}/variables", Hub.set_variable),
    ("PUT", rf"{_SPACE}/volumes", Hub.set_volumes),
    ("POST", rf"{_SPACE}/hardware", Hub.set_hardware),
    ("POST", rf"/api/buckets/{_NAME}", Hub.create_bucket),
]
_OPEN = (Hub.info, Hub.host, Hub.runtime, Hub.validate, Hub.store)
_NEEDS_TOKEN = {function for _, _, function in _ROUTES} - {*_OPEN}


@contextmanager
def running(hub: Hub) -> Iterator[str]:
    """Serve ``hub``; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        def do_HEAD(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def do_PUT(self) -> None:
            self._answer()

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
            try:
                method = self.command.replace("HEAD", "GET")
                found = hub.answer(method, urlsplit(self.path).path, token, body)
                self._send(200, found if isinstance(found, bytes) else json.dumps(found).encode())
            except Refused as refused:
                words = refused.words
                text = words if words.startswith("{") else json.dumps({"error": words})
                self._send(refused.status, text.encode(), refused.code)

        def log_message(self, *_: object) -> None:
            pass

        def _send(self, status: int, data: bytes, code: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
            if code:
                self.send_header("X-Error-Code", code)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub.url
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
