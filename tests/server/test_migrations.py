"""A database of an earlier version keeps its keys, jobs and files."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from musicgen_space.errors import DatabaseUnavailable
from musicgen_space.server import migrations
from musicgen_space.server.accounts.keys import Keys
from musicgen_space.server.database import CREDIT, Database
from musicgen_space.server.jobs.store import COMPLETED, Jobs, Terms
from tests.server.test_jobs import postgresql, url

__all__ = ["postgresql", "url"]

FIRST = Path(__file__).with_name("schema_1.sql")  # as the first version has made it
KEY = "MG_00000000000000000000000000000000"
STEP = ("ALTER TABLE jobs ADD COLUMN note VARCHAR NOT NULL DEFAULT ''",)


def version(database: Database) -> int:
    with database.reading() as session:
        return int(session.scalar(text("SELECT version FROM schema_version")) or 0)


def notes(database: Database) -> list[str]:
    with database.reading() as session:
        return [*session.scalars(text("SELECT note FROM jobs"))]


def test_a_database_of_the_first_version_keeps_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(tmp_path / "server.db")) as connection:
        connection.executescript(FIRST.read_text(encoding="utf-8"))
    address = f"sqlite:///{tmp_path}/server.db"
    with closing(Database(address)) as database:
        assert version(database) == 1 + len(migrations._STEPS)
    monkeypatch.setattr(migrations, "_STEPS", (*migrations._STEPS, STEP))
    for _ in range(2):  # the second time nothing is done
        with closing(Database(address)) as database:
            account = Keys(database).find(KEY)
            assert account is not None
            assert (account.name, account.credits) == ("phone", 8 * CREDIT)
            assert (version(database), notes(database)) == (1 + len(migrations._STEPS), [""] * 2)
    with closing(Database(address)) as database:
        jobs = Jobs(database, Terms(), "b")
        waiting = jobs.claim()
        assert waiting is not None
        assert (waiting.fields["prompt"], waiting.account) == ("jazz", account.id)
        assert jobs.complete(waiting, b"RIFF")
        found = jobs.find(waiting.id, account.id)
        assert found is not None
        assert found.status == COMPLETED


def test_tables_are_brought_up_to_date_in_both_databases(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Database(url)) as database:
        id, _ = Keys(database).add("phone")
    monkeypatch.setattr(migrations, "_STEPS", (*migrations._STEPS, STEP))
    with closing(Database(url)) as database:
        assert (Keys(database).account(id).name, notes(database)) == ("phone", [])


def test_tables_of_a_later_version_are_left_alone(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as later, closing(Database(url)) as database:
        later.setattr(migrations, "_STEPS", (*migrations._STEPS, ()))
        Keys(database).add("phone")
    with closing(Database(url)) as database, pytest.raises(DatabaseUnavailable, match="update it"):
        Keys(database).all()
