"""A provider of OpenID Connect, as Hugging Face is one, over real HTTP on loopback.

Everybody who comes is signed in at once, as ``who`` says.
"""

from __future__ import annotations

import hashlib
import json
import threading
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

CLIENT, SECRET = "an-app", "a-secret-of-the-app"
TOKEN = "an-access-token-of-somebody"


@dataclass
class Provider:
    """``who`` comes, and what was asked for so far; ``broken`` is a path that answers 500."""

    address: str
    who: dict[str, Any] = field(default_factory=lambda: {"sub": "1", "preferred_username": "ada"})
    scopes: list[str] = field(default_factory=list)
    broken: str = ""

    def environment(self) -> dict[str, str]:
        """That of a Space with ``hf_oauth: true``, but for its name."""
        return {
            "OAUTH_CLIENT_ID": CLIENT,
            "OAUTH_CLIENT_SECRET": SECRET,
            "OPENID_PROVIDER_URL": self.address,
        }


@contextmanager
def openid_provider() -> Iterator[Provider]:
    """Serve one."""
    codes: dict[str, str] = {}  # → PKCE challenge

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            if url.path == provider.broken:
                self._json({}, 500)
            elif url.path == "/.well-known/openid-configuration":
                names = ("authorization", "token", "userinfo")
                self._json({f"{n}_endpoint": f"{provider.address}/oauth/{n}" for n in names})
            elif url.path == "/oauth/authorization":
                self._authorize(query)
            elif url.path == "/oauth/userinfo":
                right = self.headers["Authorization"] == f"Bearer {TOKEN}"
                self._json(provider.who if right else {}, 200 if right else 401)

        def do_POST(self) -> None:
            body = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            sent = {name: values[0] for name, values in body.items()}
            digest = hashlib.sha256(sent["code_verifier"].encode()).digest()
            challenge = urlsafe_b64encode(digest).decode().rstrip("=")
            user = b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
            right = codes.pop(sent["code"], "") == challenge and user == f"{CLIENT}:{SECRET}"
            if provider.broken == "/oauth/token":
                self._json({}, 500)
            else:
                self._json({"access_token": TOKEN} if right else {}, 200 if right else 400)

        def log_message(self, *_: object) -> None:
            pass

        def _authorize(self, query: dict[str, str]) -> None:
            assert query["client_id"] == CLIENT
            assert query["code_challenge_method"] == "S256"
            provider.scopes.append(query["scope"])
            code = f"code-{len(provider.scopes)}"
            codes[code] = query["code_challenge"]
            back = urlencode({"code": code, "state": query["state"]})
            self.send_response(302)
            self.send_header("Location", f"{query['redirect_uri']}?{back}")
            self.end_headers()

        def _json(self, values: dict[str, Any], status: int = 200) -> None:
            body = json.dumps(values).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        provider = Provider(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield provider
        server.shutdown()
