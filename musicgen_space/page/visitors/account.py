"""Who has signed in: what a signed cookie of this page says, which has no token of anybody's."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from musicgen_space.key import ApiKey
from musicgen_space.settings import Settings

__all__ = ["COOKIE", "Accounts", "Asking", "Person", "Seal"]

COOKIE = "musicgen-space-person"
_LONGEST = 4096  # characters of a cookie that are looked at; browsers keep no more


class Asking(Protocol):
    """What is looked at of a request: Starlette's, and Gradio's, which has it from one."""

    @property
    def headers(self) -> Mapping[str, str]:
        """By lower-case name."""
        ...

    @property
    def cookies(self) -> Mapping[str, str]:
        """By name."""
        ...


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who has signed in: the ``id`` that never changes, and their user name."""

    id: str
    name: str

    @property
    def visitor(self) -> str:
        """Their name in the library, which is not of the shape of a browser's token."""
        return f"huggingface:{self.id}"


class Seal:
    """Signs what a browser is to keep, so that nobody else can make or change it."""

    def __init__(self, secret: ApiKey) -> None:
        self._key = hashlib.sha256(b"musicgen-space:" + secret.reveal().encode()).digest()

    def put(self, purpose: str, values: Mapping[str, str], seconds: int) -> str:
        """``values`` as text that ``get`` believes, for the same purpose, for so long."""
        content = json.dumps({**values, "until": int(time.time()) + seconds}).encode()
        return f"{urlsafe_b64encode(content).decode()}.{self._signed(purpose, content)}"

    def get(self, purpose: str, text: str | None) -> dict[str, Any] | None:
        """The values in a text of ``put``; None for any other, and when its time is over."""
        encoded, _, signature = (text or "")[:_LONGEST].partition(".")
        try:
            content = urlsafe_b64decode(encoded)
        except ValueError:
            return None
        if not hmac.compare_digest(self._signed(purpose, content).encode(), signature.encode()):
            return None
        values: dict[str, Any] = json.loads(content)
        return values if values.pop("until") > time.time() else None

    def _signed(self, purpose: str, content: bytes) -> str:
        return hmac.new(self._key, f"{purpose}:".encode() + content, hashlib.sha256).hexdigest()


class Accounts:
    """Knows who of a page's visitors has signed in, where that is possible."""

    def __init__(self, settings: Settings) -> None:
        secret = settings.sign_in_secret
        possible = settings.strangers and settings.sign_in_client and secret is not None
        self.seal = Seal(secret) if possible and secret else None

    @property
    def are_possible(self) -> bool:
        """Whether visitors can sign in."""
        return self.seal is not None

    def person(self, asking: Asking) -> Person | None:
        """Who asks for something, by the cookie of their browser; None: nobody who signed in.

        Another site's page could have a browser ask with its cookie: that is nobody.
        """
        if self.seal is None or is_by_another_site(asking):
            return None
        values = self.seal.get("person", asking.cookies.get(COOKIE))
        return None if values is None else Person(values["id"], values["name"])


def is_by_another_site(asking: Asking) -> bool:
    """Whether another site's page made a browser ask."""
    return asking.headers.get("sec-fetch-site") in ("cross-site", "same-site")
