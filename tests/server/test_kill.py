"""Servers that are killed, and several over one database: no job is lost, or made twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from musicgen_space.server.accounts.keys import Keys
from musicgen_space.server.database import Database, Job
from tests.server.fixtures import PRICE, serving_api, settings_in
from tests.server.humming import ServerProcess
from tests.servers.postgres import postgres, programs

MODEL = "meta-musicgen-medium"
WISH = {"prompt": "#hold", "duration": 1}


@contextmanager
def humming(folder: Path, go: Path) -> Iterator[tuple[ServerProcess, httpx.Client]]:
    with (
        ServerProcess(f"sqlite:///{folder}/server.db", go) as server,
        httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client,
    ):
        yield server, client


def status(client: httpx.Client, id: str) -> str:
    found = client.get(f"/v2/requests/{id}/status").json()["status"]
    assert isinstance(found, str)
    return found


def until(client: httpx.Client, id: str, wanted: str) -> None:
    deadline = time.monotonic() + 60
    while status(client, id) != wanted:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def statuses(folder: Path) -> list[str]:
    """Of all jobs, in order of the alphabet."""
    database = Database(f"sqlite:///{folder}/server.db")
    with closing(database), database.reading() as session:
        return sorted(session.scalars(select(Job.status)))


def test_jobs_survive_the_kill_of_their_server_and_are_paid_once(tmp_path: Path) -> None:
    go = tmp_path / "go"
    database = Database(f"sqlite:///{tmp_path}/server.db")
    account, key = Keys(database).add("tests", balance=10)
    headers = {"x-api-key": key}
    jobs = []
    with humming(tmp_path, go) as (server, client):
        client.headers.update(headers)
        for number in range(2):
            links = client.post(f"/v2/{MODEL}", json=WISH | {"seed": number}).json()
            jobs.append(links["request_id"])
        until(client, jobs[0], "PROCESSING")
        named = {"idempotency-key": "mine"}
        with suppress(httpx.ReadTimeout):
            client.post(f"/v1/{MODEL}", json=WISH, headers=named, timeout=0.3)
        server.kill()
    go.touch()
    with humming(tmp_path, go) as (server, client):
        client.headers.update(headers)
        for job in jobs:
            until(client, job, "COMPLETED")
        answer = client.post(f"/v1/{MODEL}", json=WISH, headers=named)
        assert answer.content.startswith(b"RIFF")
        files = [client.get(f"/v2/requests/{job}").json()["output"] for job in jobs]
        assert len({client.get(file).content for file in files}) == 2
        server.process.terminate()
        assert server.process.wait(30) == 0
    left = Keys(database).account(account)
    assert left.reserved == 0
    assert left.credits == pytest.approx(10e6 - 3 * PRICE * 1e6)
    database.close()


@pytest.mark.skipif(programs() is None, reason="needs postgresql")
def test_a_job_outlives_a_crash_of_its_database(tmp_path: Path) -> None:
    with postgres() as database, serving_api(settings_in(tmp_path, database=database.url)) as api:
        links = api.post(f"/v2/{MODEL}", {"prompt": "#hold", "duration": 1}).json()
        api.studio.begun.acquire()
        database.crash()
        assert api.get(links["status_url"]).status_code == 503
        assert api.get("/readyz").status_code == 503
        api.studio.go.set()
        database.start()
        assert api.result(links).json()["status"] == "COMPLETED"
        assert api.credits == pytest.approx(10 - PRICE)
        assert len(api.studio.asked) == 1


def test_several_servers_make_a_job_of_one_name_once(tmp_path: Path) -> None:
    with (
        serving_api(settings_in(tmp_path)) as first,
        serving_api(settings_in(tmp_path)) as second,
    ):
        answers: list[httpx.Response] = []

        def ask(url: str) -> None:
            wish, named = {"prompt": "#hold", "duration": 1}, {"idempotency-key": "mine"}
            headers = {"x-api-key": first.key, **named}
            answers.append(httpx.post(f"{url}/v1/{MODEL}", json=wish, headers=headers, timeout=60))

        threads = [threading.Thread(target=ask, args=(each.url,)) for each in (first, second)]
        for thread in threads:
            thread.start()
        while not first.studio.asked and not second.studio.asked:
            time.sleep(0.01)
        first.studio.go.set()
        second.studio.go.set()
        for thread in threads:
            thread.join()
        assert [each.status_code for each in answers] == [200, 200]
        assert answers[0].content == answers[1].content
        assert answers[0].headers["x-request-id"] == answers[1].headers["x-request-id"]
        assert len(first.studio.asked) + len(second.studio.asked) == 1
        assert first.credits == pytest.approx(10 - PRICE)


def test_a_server_that_is_told_to_end_answers_who_waits_for_what_it_makes(tmp_path: Path) -> None:
    go, answers = tmp_path / "go", []
    with humming(tmp_path, go) as (server, client):

        def ask() -> None:
            answers.append(client.post(f"/v1/{MODEL}", json=WISH))

        first, second = (threading.Thread(target=ask) for _ in range(2))
        for thread, known in ((first, ["PROCESSING"]), (second, ["PROCESSING", "QUEUED"])):
            thread.start()
            while statuses(tmp_path) != known:
                time.sleep(0.02)
        server.process.terminate()
        second.join()  # it had not begun
        go.touch()
        first.join()
        assert server.process.wait(30) == 0
    assert [answer.status_code for answer in answers] == [503, 200]


def test_a_server_that_ends_leaves_its_job_to_the_next(tmp_path: Path) -> None:
    with serving_api(settings_in(tmp_path)) as first:
        links = first.post(f"/v2/{MODEL}", {"prompt": "#hold", "duration": 1}).json()
        first.studio.begun.acquire()
        key = first.key
        first.service.runner.close(patience=0.0)
    with serving_api(settings_in(tmp_path)) as second:
        second.studio.go.set()
        second.client.headers["x-api-key"] = key
        path = links["response_url"].removeprefix(first.url)
        deadline = time.monotonic() + 60
        while second.get(path).json()["status"] != "COMPLETED":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert second.credits == pytest.approx(10 - PRICE)
