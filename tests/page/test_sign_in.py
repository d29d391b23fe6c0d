"""Signing in with Hugging Face: takes follow whoever does, and nobody can pass for them."""

from __future__ import annotations

import json
import logging
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from musicgen_space.library import Library
from musicgen_space.page.takes.own_takes import OwnTakes
from musicgen_space.page.visitors.account import COOKIE, Accounts, Person
from musicgen_space.page.visitors.gate import Gate
from musicgen_space.page.visitors.sign_in import (
    CALLBACK,
    SIGN_IN,
    SIGN_OUT,
    sign_in_routes,
)
from musicgen_space.settings import Settings, environment_without_keys
from tests.page.test_own_takes import ME, OTHER, names, take
from tests.page.told import told
from tests.servers.openid import SECRET, TOKEN, Provider, openid_provider

ADA, BOB = Person("1", "ada"), Person("2", "bob")


@pytest.fixture(scope="module")
def served() -> Iterator[Provider]:
    with openid_provider() as provider:
        yield provider


@pytest.fixture
def provider(served: Provider) -> Provider:
    served.who, served.broken = {"sub": "1", "preferred_username": "ada"}, ""
    served.scopes.clear()
    return served


@pytest.fixture
def settings(provider: Provider) -> Settings:
    return Settings.from_environment({**provider.environment(), "GRADIO_SERVER_NAME": "0.0.0.0"})


def browser(settings: Settings, **options: Any) -> TestClient:
    """At a page that tells who it takes a visitor for."""
    accounts = Accounts(settings)

    def who(request: Request) -> Response:
        person = accounts.person(request)
        return JSONResponse(person and {"id": person.id, "name": person.name})

    routes = sign_in_routes(settings)
    gate = Middleware(Gate, more=[route.path for route in routes])
    app = Starlette(routes=[Route("/", who), *routes], middleware=[gate])
    return TestClient(app, **options)


def sign_in(here: TestClient, **changes: str) -> httpx.Response:
    """Follow the way there and back; ``changes`` are made to what the browser comes back with."""
    there = here.get(SIGN_IN, follow_redirects=False).headers["location"]
    back = urlsplit(httpx.get(there).headers["location"])
    query = {name: values[0] for name, values in parse_qs(back.query).items()} | changes
    return here.get(back.path, params=query, follow_redirects=False)


def test_who_signs_in_is_known_until_they_sign_out(
    settings: Settings, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with browser(settings) as here:
        assert here.get("/").json() is None
        answer = sign_in(here)
        assert answer.headers["location"] == "../"
        assert here.get("/").json() == {"id": "1", "name": "ada"}
        assert provider.scopes == ["openid profile"]
        assert list(here.cookies) == [COOKIE]
        kept = here.cookies[COOKIE].strip('"') + str(answer.headers)
        decoded = urlsafe_b64decode(kept.partition(".")[0]).decode()
        assert json.loads(decoded).keys() == {"id", "name", "until"}
        for secret in (TOKEN, SECRET, "code-1"):
            assert secret not in kept + decoded
        ours = [line for line in caplog.messages if "127.0.0.1" not in line]
        assert not [line for line in ours if TOKEN in line or SECRET in line]
        here.get(SIGN_OUT, headers={"Sec-Fetch-Site": "cross-site"}, follow_redirects=False)
        assert here.get("/").json() is not None
        here.get(SIGN_OUT, headers={"Sec-Fetch-Site": "same-origin"})
        assert here.get("/").json() is None


def test_a_space_is_come_back_to_at_the_name_that_the_hub_knows(settings: Settings) -> None:
    environ = {"SPACE_HOST": "me-music.hf.space,music.example"}
    host = Settings.from_environment(environ).space_host
    assert host == "me-music.hf.space"
    with browser(replace(settings, space_host=host), base_url="https://test") as here:
        answer = here.get(SIGN_IN, follow_redirects=False)
        [asked] = parse_qs(urlsplit(answer.headers["location"]).query)["redirect_uri"]
        assert asked == f"https://me-music.hf.space{CALLBACK}"
        answer = sign_in(here)
        [cookie] = [c for c in answer.headers.get_list("set-cookie") if c.startswith(COOKIE)]
        assert {"HttpOnly", "Secure", "SameSite=none"} <= {*cookie.split("; ")}


@pytest.mark.parametrize("changes", [{"state": "another"}, {"code": "another"}, {"code": ""}])
def test_an_answer_that_was_not_asked_for_signs_nobody_in(
    settings: Settings, changes: dict[str, str]
) -> None:
    with browser(settings) as here:
        assert sign_in(here, **changes).headers["location"] == "../#sign-in-failed"
        assert here.get("/").json() is None


def test_who_was_sent_here_by_another_is_not_signed_in_as_them(settings: Settings) -> None:
    with browser(settings) as attacker, browser(settings) as victim:
        there = attacker.get(SIGN_IN, follow_redirects=False).headers["location"]
        back = urlsplit(httpx.get(there).headers["location"])
        victim.get(SIGN_IN, follow_redirects=False)  # even if they have begun
        answer = victim.get(f"{back.path}?{back.query}", follow_redirects=False)
        assert answer.headers["location"] == "../#sign-in-failed"
        assert victim.get("/").json() is None


@pytest.mark.parametrize("broken", ["/oauth/token", "/oauth/userinfo"])
def test_a_provider_that_fails_is_said_in_one_line(
    settings: Settings, provider: Provider, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    with browser(settings) as here:
        there = here.get(SIGN_IN, follow_redirects=False).headers["location"]
        back = httpx.get(there).headers["location"]
        provider.broken = broken
        answer = here.get(back, follow_redirects=False)
        assert answer.headers["location"] == "../#sign-in-failed"
    [line] = [line for line in caplog.messages if "Signing in" in line]
    assert line == "Signing in did not work: HTTPStatusError"


def test_a_provider_that_is_not_there_sends_back_to_the_page(
    settings: Settings, provider: Provider
) -> None:
    nowhere = replace(settings, sign_in_provider="http://127.0.0.1:9")
    provider.broken = "/.well-known/openid-configuration"
    for each in (settings, nowhere):
        with browser(each) as here:
            answer = here.get(SIGN_IN, follow_redirects=False)
            assert answer.headers["location"] == "../#sign-in-failed"


@pytest.mark.parametrize("who", [{}, {"sub": 1, "preferred_username": "ada"}, {"sub": "1"}])
def test_a_profile_without_an_id_or_a_name_is_nobody(
    settings: Settings, provider: Provider, who: dict[str, Any]
) -> None:
    provider.who = who
    with browser(settings) as here:
        assert sign_in(here).headers["location"] == "../#sign-in-failed"
        assert here.get("/").json() is None


def asking(cookie: str | None = None, **headers: str) -> Any:
    cookies = {} if cookie is None else {COOKIE: cookie}
    return SimpleNamespace(cookies=cookies, headers=headers)


def cookie_of(accounts: Accounts, person: Person, seconds: int = 60) -> str:
    assert accounts.seal is not None
    return accounts.seal.put("person", {"id": person.id, "name": person.name}, seconds)


def test_a_cookie_that_was_changed_or_is_too_old_is_nobodys(settings: Settings) -> None:
    accounts = Accounts(settings)
    good = cookie_of(accounts, ADA)
    assert accounts.person(asking(good)) == ADA
    content, _, signature = good.partition(".")
    forged = urlsafe_b64encode(urlsafe_b64decode(content).replace(b'"1"', b'"2"')).decode()
    assert accounts.seal is not None
    other_purpose = accounts.seal.put("attempt", {"id": "1", "name": "ada"}, 60)
    bad = ["", ".", "é.é", good[:-1], content, f"{forged}.{signature}", other_purpose]
    for cookie in [*bad, cookie_of(accounts, ADA, -1), "x" * 10**5, None]:
        assert accounts.person(asking(cookie)) is None
    assert accounts.person(asking(good, **{"sec-fetch-site": "cross-site"})) is None
    assert accounts.person(asking(good, **{"sec-fetch-site": "same-origin"})) == ADA


def test_signing_in_is_off_unless_an_app_is_named(provider: Provider) -> None:
    for environ in ({}, {"OAUTH_CLIENT_ID": "x"}, provider.environment()):
        settings = Settings.from_environment(environ)  # the owner alone needs no account
        assert sign_in_routes(settings) == []
        with browser(settings) as here:
            for path in (SIGN_IN, CALLBACK, SIGN_OUT):
                assert here.get(path).status_code == 404
    assert SECRET not in environment_without_keys(provider.environment()).values()


@pytest.fixture
def takes(library: Library, settings: Settings) -> OwnTakes:
    return OwnTakes(library, settings, {})


def test_takes_follow_who_signs_in_and_those_of_the_browser_move(
    takes: OwnTakes, settings: Settings
) -> None:
    accounts = Accounts(settings)
    ada, bob = (asking(cookie_of(accounts, person)) for person in (ADA, BOB))
    takes.keep(ME, [take("before")])
    [deleted] = takes.keep(ME, [take("deleted")])[0]
    takes.delete_takes({**ME, "ids": [deleted]})
    takes.keep(takes.seen(ME, asking()), [take("still before")])
    first = takes.list_takes(takes.seen(ME, ada))
    assert names(first) == ["still before", "before"]
    assert (first["person"], first["moved"]) == ("ada", True)
    assert "wherever you sign in" in told(first["about"])
    assert takes.list_takes(takes.seen(ME, ada))["moved"] is False
    takes.keep(takes.seen(OTHER, ada), [take("elsewhere")])
    assert names(takes.list_takes(takes.seen(ME, ada)))[0] == "elsewhere"
    assert takes.restore_takes(takes.seen({**ME, "ids": [deleted]}, ada))["ids"] == [deleted]
    for nobody in (takes.seen(ME, asking()), takes.seen(ME, bob), OTHER):
        assert names(takes.list_takes(nobody)) == []
    assert "person" not in takes.list_takes(ME)


def test_nobody_passes_for_a_person_by_what_they_send(takes: OwnTakes, settings: Settings) -> None:
    ada = asking(cookie_of(Accounts(settings), ADA))
    takes.keep(takes.seen(ME, ada), [take("ada's")])
    for sent in (
        {"visitor": ADA.visitor},
        {**OTHER, "person": {"id": "1", "name": "ada"}},
        {**OTHER, "person": "1"},
        {**OTHER, "person": ADA.visitor},
    ):
        answer = takes.list_takes(takes.seen(sent, asking()))
        assert answer.get("rows", []) == []
