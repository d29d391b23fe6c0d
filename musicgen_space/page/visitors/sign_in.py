"""Signing in with Hugging Face, where the owner of a Space has switched it on.

The authorization code flow of OpenID Connect with PKCE. Asked for is the public profile, and of
that the user's id and name stay, in a cookie of ours. The access token is used once, to ask for
them, and dropped. (Gradio's own way, ``gr.LoginButton``, keeps it in its cookie.)
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from base64 import urlsafe_b64encode
from typing import Any
from urllib.parse import urlencode

import httpx
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from musicgen_space.key import ApiKey
from musicgen_space.page.visitors.account import (
    COOKIE,
    Accounts,
    Person,
    Seal,
    is_by_another_site,
)
from musicgen_space.settings import Settings

__all__ = ["CALLBACK", "SIGN_IN", "SIGN_OUT", "sign_in_routes"]

log = logging.getLogger(__name__)

# The first two are those that the hub allows of a Space.
SIGN_IN, CALLBACK, SIGN_OUT = "/login/huggingface", "/login/callback", "/logout"

_SCOPES = "openid profile"
_ATTEMPT = "musicgen-space-sign-in"
_ATTEMPT_SECONDS = 600
_DAYS = 30
_PATIENCE = 10.0  # seconds
_LONGEST = 200  # characters of an id or a name
_FAILED = "#sign-in-failed"  # for library_panel.js


def sign_in_routes(settings: Settings) -> list[Route]:
    """The routes of all that; none where it is off."""
    seal, client, secret = Accounts(settings).seal, settings.sign_in_client, settings.sign_in_secret
    if seal is None or client is None or secret is None:
        return []
    return SignIn(settings, seal, (client, secret)).routes()


class SignIn:
    """What the routes do."""

    def __init__(self, settings: Settings, seal: Seal, client: tuple[str, ApiKey]) -> None:
        self._provider, self._space_host = settings.sign_in_provider, settings.space_host
        self._seal = seal
        self._endpoints: dict[str, Any] = {}  # of the provider, once it has told them
        self._client_id, self._client_secret = client

    def routes(self) -> list[Route]:
        """For the page's server."""
        return [
            Route(SIGN_IN, self._begin),
            Route(CALLBACK, self._finish, name="sign_in_callback"),
            Route(SIGN_OUT, self._leave),
        ]

    async def _begin(self, request: Request) -> Response:
        """To the provider, with a state and a PKCE challenge that only this browser knows."""
        attempt = {"state": secrets.token_urlsafe(24), "verifier": secrets.token_urlsafe(48)}
        digest = hashlib.sha256(attempt["verifier"].encode()).digest()
        asked = {
            "client_id": self._client_id,
            "redirect_uri": self._callback(request),
            "response_type": "code",
            "scope": _SCOPES,
            "state": attempt["state"],
            "code_challenge": urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        try:
            async with _client() as client:
                endpoint = (await self._provided(client))["authorization_endpoint"]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            return _failed(error, "../")
        answer = RedirectResponse(f"{endpoint}?{urlencode(asked)}")
        sealed = self._seal.put("attempt", attempt, _ATTEMPT_SECONDS)
        self._set(answer, request, _ATTEMPT, sealed, _ATTEMPT_SECONDS, framed=False)
        return answer

    async def _finish(self, request: Request) -> Response:
        """Back from the provider, which says who it is."""
        attempt = self._seal.get("attempt", request.cookies.get(_ATTEMPT))
        state, code = (request.query_params.get(name, "") for name in ("state", "code"))
        if (
            attempt is None
            or not code
            or not secrets.compare_digest(attempt["state"].encode(), state.encode())
        ):
            return _failed(None, "../")
        try:
            person = await self._person(request, code, attempt["verifier"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            return _failed(error, "../")
        answer = RedirectResponse("../")
        seconds = _DAYS * 24 * 3600
        sealed = self._seal.put("person", {"id": person.id, "name": person.name}, seconds)
        self._set(answer, request, COOKIE, sealed, seconds, framed=True)
        answer.delete_cookie(_ATTEMPT)
        return answer

    async def _leave(self, request: Request) -> Response:
        answer = RedirectResponse("./")
        if not is_by_another_site(request):
            self._set(answer, request, COOKIE, "", 0, framed=True)
        return answer

    async def _person(self, request: Request, code: str, verifier: str) -> Person:
        async with _client() as client:
            endpoints = await self._provided(client)
            tokens = await client.post(
                endpoints["token_endpoint"],
                data={
                    "grant_type": "authorization_code",
                    "code": code,
                    "redirect_uri": self._callback(request),
                    "code_verifier": verifier,
                },
                auth=(self._client_id, self._client_secret.reveal()),
            )
            token = _json(tokens)["access_token"]
            bearer = {"Authorization": f"Bearer {token}"}
            profile = _json(await client.get(endpoints["userinfo_endpoint"], headers=bearer))
        return Person(_text(profile, "sub"), _text(profile, "preferred_username"))

    async def _provided(self, client: httpx.AsyncClient) -> dict[str, Any]:
        if not self._endpoints:
            address = f"{self._provider}/.well-known/openid-configuration"
            self._endpoints = _json(await client.get(address))
        return self._endpoints

    def _callback(self, request: Request) -> str:
        """Where the provider sends a browser back to: of a Space the hub knows one address."""
        if self._space_host:
            return f"https://{self._space_host}{CALLBACK}"
        return str(request.url_for("sign_in_callback"))

    def _set(
        self,
        answer: Response,
        request: Request,
        name: str,
        text: str,
        seconds: int,
        *,
        framed: bool,
    ) -> None:
        """Set a cookie that no script sees; ``framed``: in another site's frame too, if allowed."""
        secure = bool(self._space_host) or request.url.scheme == "https"
        answer.set_cookie(
            name,
            text,
            max_age=seconds,
            httponly=True,
            secure=secure,
            samesite="none" if framed and secure else "lax",
        )


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=_PATIENCE)


def _json(answer: httpx.Response) -> dict[str, Any]:
    values = answer.raise_for_status().json()
    if not isinstance(values, dict):
        raise TypeError("no JSON object")
    return values


def _text(profile: dict[str, Any], name: str) -> str:
    value = profile[name]
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST:
        raise ValueError(f"{name} is no text of 1 to {_LONGEST} characters")
    return value


def _failed(error: Exception | None, back: str) -> Response:
    """Back to the page, which says that it did not work; the log has no more than the kind."""
    log.warning("Signing in did not work: %s", type(error).__name__ if error else "not asked for")
    return RedirectResponse(f"{back}{_FAILED}")
