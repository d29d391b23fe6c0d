"""Jobs happen once and are paid once, in SQLite and in PostgreSQL."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from musicgen_space.errors import DatabaseUnavailable, InvalidRequest, InvalidSetting
from musicgen_space.request import MusicRequest
from musicgen_space.server.accounts.keys import Keys
from musicgen_space.server.database import CREDIT, OWNER, Database, Job
from musicgen_space.server.jobs.order import Order
from musicgen_space.server.jobs.store import (
    CANCELLED,
    COMPLETED,
    FAILED,
    KEPT_SECONDS,
    PROCESSING,
    QUEUED,
    Jobs,
    NoCredits,
    OtherOrder,
    Terms,
    TooMany,
)
from tests.servers.postgres import postgres, programs

LEASE = 20.0
PRICE = 2 * CREDIT


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    with postgres() as server:
        yield server.url


@dataclass
class World:
    """Servers over one database, an account with ten credits, and a clock."""

    database: Database
    account: str
    now: float = 1000.0
    terms: Terms = field(default_factory=lambda: Terms(lease=LEASE))

    def server(self, name: str = "a") -> Jobs:
        return Jobs(self.database, self.terms, name, lambda: self.now)

    @property
    def money(self) -> tuple[float, float]:
        """What the account has, and what of it is reserved."""
        account = Keys(self.database).account(self.account)
        return account.credits / CREDIT, account.reserved / CREDIT

    def order(self, prompt: str = "lo-fi", **fields: object) -> Order:
        order = Order(self.account, MusicRequest(prompt, model="nano"), "wav", PRICE)
        return replace(order, **fields)  # type: ignore[arg-type]

    def find(self, job: Job) -> Job:
        found = self.server().find(job.id, self.account)
        assert found is not None
        return found


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param(
            "postgresql",
            marks=pytest.mark.skipif(programs() is None, reason="needs postgresql"),
        ),
    ]
)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a database that nobody has used."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/new/server.db"
    server = make_url(request.getfixturevalue("postgresql"))
    name = f"test_{uuid.uuid4().hex}"
    engine = create_engine(
        server.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return str(server.set(database=name))


@pytest.fixture
def world(url: str) -> Iterator[World]:
    with closing(Database(url)) as database:
        yield World(database, Keys(database).add("tests", balance=10)[0])


def test_a_job_is_reserved_made_charged_and_kept(world: World) -> None:
    server = world.server()
    job, new = server.submit(world.order())
    assert (new, job.status, world.money) == (True, QUEUED, (10, 2))
    claimed = server.claim()
    assert claimed is not None
    assert (claimed.id, world.find(job).status) == (job.id, PROCESSING)
    assert server.claim() is None
    sound = bytes(range(256)) * 3000  # several pieces
    assert server.complete(claimed, sound)
    assert (world.find(job).status, world.money) == (COMPLETED, (8, 0))
    name = world.find(job).output
    assert name is not None
    output = server.output(name)
    assert output is not None
    assert output.size == len(sound)
    assert b"".join(server.piece(name, number) for number in range(4)) == sound
    assert not server.complete(claimed, sound)
    assert not server.fail(claimed, "late")
    assert world.money == (8, 0)


def test_jobs_of_a_model_that_is_loaded_go_before_others_for_a_while(world: World) -> None:
    server = world.server()

    def order(prompt: str, model: str) -> Order:
        return world.order(prompt, request=MusicRequest(prompt, model=model))

    server.submit(order("large", "large"))
    server.submit(order("nano", "nano"))
    first = server.claim(["nano"])
    assert first is not None
    assert first.model == "nano"
    world.now += 11
    server.submit(order("another", "nano"))
    second = server.claim(["nano"])
    assert second is not None
    assert second.model == "large"


def test_a_job_that_fails_or_whose_client_goes_costs_nothing(world: World) -> None:
    server = world.server()
    failed, _ = server.submit(world.order())
    gone, _ = server.submit(world.order(awaited=True))
    claimed = server.claim()
    assert claimed is not None
    assert server.fail(claimed, "out of tune")
    server.cancel(gone.id)
    server.cancel(gone.id)
    assert (world.find(failed).status, world.find(failed).error) == (FAILED, "out of tune")
    assert world.find(gone).status == CANCELLED
    assert world.money == (10, 0)


def test_one_name_is_one_job_on_all_servers(world: World) -> None:
    order = world.order(name="mine")
    job, _ = world.server("a").submit(order)
    again, new = world.server("b").submit(order)
    assert (again.id, new) == (job.id, False)
    with pytest.raises(OtherOrder):
        world.server("b").submit(world.order("funk", name="mine"))
    other = Keys(world.database).add("other", balance=10)[0]
    assert world.server("b").submit(replace(order, account=other))[1]
    assert world.money == (10, 2)


def test_one_name_at_once_is_one_job(world: World) -> None:
    jobs: list[tuple[Job, bool]] = []
    ready = threading.Barrier(6)

    def submit(name: str) -> None:
        ready.wait()
        jobs.append(world.server(name).submit(world.order(name="mine")))

    threads = [threading.Thread(target=submit, args=(name,)) for name in "abcdef"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({job.id for job, _ in jobs}) == 1
    assert [new for _, new in jobs].count(True) == 1
    assert world.money == (10, 2)


def test_a_job_is_claimed_by_one_server(world: World) -> None:
    for number in range(4):
        world.server().submit(world.order(f"{number}"))
    claimed: list[Job | None] = []
    ready = threading.Barrier(6)

    def claim(name: str) -> None:
        ready.wait()
        claimed.append(world.server(name).claim())

    threads = [threading.Thread(target=claim, args=(name,)) for name in "abcdef"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = [job.id for job in claimed if job is not None]
    assert len(ids) == len({*ids})
    assert len(ids) >= 1


def test_a_name_whose_client_went_can_be_used_again(world: World) -> None:
    order = world.order(name="mine", live=True, awaited=True)
    server = world.server()
    job, _ = server.submit(order)
    server.cancel(job.id)
    world.now += 1
    again, new = server.submit(order)
    assert (again.id, new, again.status) == (job.id, True, PROCESSING)
    assert not server.complete(job, b"of the first time")
    assert server.complete(again, b"sound")
    assert world.money == (8, 0)


def test_what_a_server_leaves_behind_is_made_by_another_once(world: World) -> None:
    dead, other = world.server("dead"), world.server("other")
    job, _ = dead.submit(world.order())
    first = dead.claim()
    assert first is not None
    other.recover()
    assert other.claim() is None  # it may still be made
    world.now += LEASE + 1
    other.recover()
    second = other.claim()
    assert second is not None
    assert second.id == job.id
    assert second.fields["seed"] == first.fields["seed"]
    assert not dead.complete(first, b"of the dead")  # it was only slow
    assert dead.renew([job.id]) == set()
    assert other.complete(second, b"sound")
    assert world.money == (8, 0)


def test_a_job_that_ends_servers_is_reported_as_failed(world: World) -> None:
    job, _ = world.server().submit(world.order())
    for name in "ab":
        assert world.server(name).claim() is not None
        world.now += LEASE + 1
        world.server("c").recover()
    assert world.server("c").claim() is None
    assert world.find(job).status == FAILED
    assert "twice" in str(world.find(job).error)
    assert world.money == (10, 0)


def test_a_server_that_renews_keeps_its_job(world: World) -> None:
    server = world.server()
    job, _ = server.submit(world.order())
    server.claim()
    for _ in range(3):
        world.now += LEASE / 2
        assert server.renew([job.id]) == {job.id}
        world.server("other").recover()
    assert world.find(job).status == PROCESSING
    world.now += LEASE / 2
    assert server.renew([]) == set()  # it no longer makes it
    world.now += LEASE / 2 + 1
    world.server("other").recover()
    assert world.find(job).status == QUEUED


def test_a_job_whose_only_client_died_with_its_server_is_dropped(world: World) -> None:
    job, _ = world.server("dead").submit(world.order(awaited=True))
    world.now += LEASE - 1
    world.server("dead").renew([], [job.id])
    world.now += LEASE - 1
    world.server("other").recover()
    assert world.find(job).status == QUEUED
    world.server("dead").renew([])  # whose client it no longer answers
    kept, _ = world.server("dead").submit(world.order())
    world.now += LEASE + 1
    world.server("other").recover()
    assert world.find(job).status == CANCELLED
    claimed = world.server("other").claim()
    assert claimed is not None
    assert claimed.id == kept.id
    assert world.money == (10, 2)


def test_a_job_that_is_given_back_has_lost_nothing(world: World) -> None:
    server = world.server()
    server.submit(world.order())
    for _ in range(3):
        claimed = server.claim()
        assert claimed is not None
        server.give_back(claimed)
    last = server.claim()
    assert last is not None
    assert last.attempts == 1


def test_who_was_served_longest_ago_is_next(world: World) -> None:
    server = world.server()
    other = Keys(world.database).add("other", balance=10)[0]
    for prompt in ("one", "two", "three"):
        world.now += 1
        server.submit(world.order(prompt))
    world.now += 1
    server.submit(replace(world.order("theirs"), account=other))
    made = []
    for _ in range(4):
        world.now += 1
        job = server.claim()
        assert job is not None
        made.append(job.fields["prompt"])
    assert made == ["one", "theirs", "two", "three"]


def test_nobody_spends_what_is_reserved(world: World) -> None:
    server = world.server()
    for number in range(5):
        server.submit(world.order(f"{number}"))
    with pytest.raises(NoCredits) as caught:
        server.submit(world.order("one more"))
    assert caught.value.available == 0
    assert world.money == (10, 10)
    assert server.waiting() == 5


def test_so_many_may_wait_and_files_have_so_much_room(world: World) -> None:
    world.terms = Terms(most_waiting=1, most_bytes=1000, lease=LEASE)
    server, names = world.server(), []
    for number in range(3):
        world.now += 1
        job, _ = server.submit(world.order(f"{number}"))
        with pytest.raises(TooMany):
            server.submit(world.order("one more"))
        claimed = server.claim()
        assert claimed is not None
        assert server.complete(claimed, bytes(400))
        names.append(str(world.find(job).output))
    assert [server.output(name) is not None for name in names] == [False, True, True]
    assert server.piece(names[0], 0) == b""


def test_after_a_week_nothing_is_left_of_a_job(world: World) -> None:
    server = world.server()
    job, _ = server.submit(world.order())
    for _ in range(2):
        claimed = server.claim()
        assert claimed is not None
        assert server.complete(claimed, b"sound")
        world.now += KEPT_SECONDS + 1
        server.submit(world.order("later"))
    assert server.find(job.id, world.account) is None
    last = server.claim()
    assert last is not None
    assert server.complete(last, b"sound")
    name = str(world.find(last).output)
    world.now += KEPT_SECONDS + 1
    server.prune()
    assert server.output(name) is None


def test_keys_are_kept_as_digests_and_can_be_revoked(world: World) -> None:
    keys = Keys(world.database)
    id, key = keys.add("phone", ["music", "metrics"], 1.5, 3)
    found = keys.find(key)
    assert found is not None
    assert (found.id, found.scopes, found.revoked) == (id, "music metrics", None)
    assert key.encode() not in (found.digest or b"")
    assert keys.find(key[:-1]) is None
    assert keys.grant(id, -0.5) == 1.0
    assert [keys.count(id).allowed for _ in range(7)].count(True) in range(3, 7)
    keys.revoke(id)
    again = keys.find(key)
    assert again is not None
    assert again.revoked is not None
    assert [each.name for each in keys.all()] == ["tests", "phone"]
    for wrong in (OWNER, "nobody"):
        with pytest.raises(InvalidRequest, match="key"):
            keys.revoke(wrong)
    with pytest.raises(InvalidRequest, match="scope"):
        keys.add("x", ["admin"])


def test_many_can_begin_with_a_new_database_at_once(url: str) -> None:
    ready, added = threading.Barrier(8), []

    def begin() -> None:
        with closing(Database(url)) as database:
            ready.wait()
            added.append(Keys(database).add("one of many"))

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(added) == 8


def test_a_database_that_makes_no_sense_is_a_setting() -> None:
    for url in ("nonsense", "oracle+nothing://x", "mysql://root:secret@host/x"):
        with pytest.raises(InvalidSetting, match="MUSICGEN_DATABASE") as caught:
            Database(url)
        assert "secret" not in str(caught.value)


def test_a_database_that_is_away_is_told_without_its_password(tmp_path: Path) -> None:
    database = Database(f"postgresql://me:secret@/x?host={tmp_path}")
    with pytest.raises(DatabaseUnavailable) as caught:
        Keys(database).find("key")
    assert "secret" not in f"{caught.value!r} {caught.value.__cause__}"
