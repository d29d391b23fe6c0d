"""What a page may see and do of the takes that are kept: its visitor's, and nobody else's."""

from __future__ import annotations

import errno
import json
import logging
import sqlite3
import threading
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musicgen_space.backends.base import Backend, ModelChoice, Update
from musicgen_space.errors import LibraryUnavailable, MusicGenSpaceError
from musicgen_space.library import BucketLibrary, Library, Storage
from musicgen_space.message import Message
from musicgen_space.page.form.recall import recalled
from musicgen_space.page.takes.library_panel import build_library_panel
from musicgen_space.page.takes.own_takes import PAGE, OwnTakes
from musicgen_space.page.visitors.identity import OWNER, Visitors
from musicgen_space.request import MusicRequest
from musicgen_space.serve import open_library
from musicgen_space.settings import Settings
from musicgen_space.take import Receipt, Take
from tests.page.told import told

RATE = 32000
ME = {"visitor": "0123456789abcdef" * 3}
OTHER = {"visitor": "f" * 48}
SHARED = Settings(host="0.0.0.0")


class Home(Backend):
    name, label, about = "home", "This machine", "free"

    def models(self) -> list[ModelChoice]:
        return [ModelChoice("deaf", "")]

    def generate(
        self, request: MusicRequest, stop: threading.Event, visitor: str = ""
    ) -> Iterator[Update]:
        yield from ()


@pytest.fixture
def takes(library: Library) -> OwnTakes:
    """Those of a page that others can open."""
    return OwnTakes(library, SHARED, {"home": Home()})


def take(prompt: str = "jazz", **changes: Any) -> Take:
    samples = np.sin(np.arange(RATE, dtype=np.float32) / 20)[None] / 2
    return Take(samples, RATE, MusicRequest(prompt, seed=7), "home", "deaf", 1.0, **changes)


def test_a_row_from_when_there_were_two_lengths_gives_the_one_it_meant(
    takes: OwnTakes, tmp_path: Path
) -> None:
    [id] = kept(takes, "jazz")
    with closing(sqlite3.connect(tmp_path / "library" / "index.sqlite3")) as index, index:
        index.execute("UPDATE takes SET settings = json_set(settings, '$.extend_to', 60)")
    settings = takes.entry({**ME, "ids": [id]}).settings
    assert settings["extend_to"] == 60
    assert recalled(settings, {"home": Home()}).fields["duration"] == 60


def kept(takes: OwnTakes, *prompts: str) -> list[str]:
    return [takes.keep(ME, [take(prompt)])[0][0] for prompt in prompts]


def names(answer: dict[str, Any]) -> list[str]:
    return [row["name"] for row in answer["rows"]]


@pytest.mark.parametrize(
    "sent",
    [
        None,
        {},
        [],
        "0123456789abcdef" * 3,
        {"visitor": None},
        {"visitor": OWNER},
        {"visitor": "0" * 47},
        {"visitor": "0" * 49},
        {"visitor": "0" * 47 + "\n"},
        {"visitor": "G" * 48},
        {"visitor": ["0"] * 48},
    ],
)
def test_on_a_shared_page_only_a_token_is_a_visitor(sent: object) -> None:
    assert Visitors(SHARED).name_of(sent) is None
    assert Visitors(Settings()).name_of(sent) == OWNER


def test_a_row_tells_what_made_the_take(takes: OwnTakes) -> None:
    hosted = take(stopped=True, receipt=Receipt(0.0371, None))
    takes.keep(ME, [hosted])
    [row] = takes.list_takes(ME)["rows"]
    assert (row["name"], row["prompt"], row["favourite"]) == ("jazz", "jazz", False)
    assert told(row["facts"]) == "seed 7 · 1 s (stopped) · deaf · This machine · 0.0371 credits"
    assert row["sound"] is False
    assert json.loads(json.dumps(row)) == {**row, "peaks": [*row["peaks"]]}


def test_rows_come_in_pages_and_are_searched(takes: OwnTakes) -> None:
    kept(takes, *(f"jazz {number}" for number in range(PAGE + 2)))
    first = takes.list_takes(ME)
    assert (len(first["rows"]), first["count"], first["any"]) == (PAGE, PAGE + 2, True)
    rest = takes.list_takes({**ME, "after": first["rows"][-1]["id"]})
    assert names(rest) == ["jazz 1", "jazz 0"]
    assert names(takes.list_takes({**ME, "words": "JAZZ 31"})) == ["jazz 31"]
    nothing = takes.list_takes({**ME, "words": "techno"})
    assert (nothing["rows"], nothing["count"], nothing["any"]) == ([], 0, True)


def test_a_take_is_named_favoured_deleted_and_brought_back(takes: OwnTakes) -> None:
    [id] = kept(takes, "jazz")
    this = {**ME, "ids": [id]}
    assert takes.rename_take({**this, "name": "Sunday"})["row"]["name"] == "Sunday"
    assert takes.favour_take({**this, "favourite": True})["row"]["favourite"]
    assert names(takes.list_takes({**ME, "favourites": True})) == ["Sunday"]
    assert takes.rename_take({**this, "name": ""})["row"]["name"] == "jazz"
    assert "120 characters" in told(takes.rename_take({**this, "name": "x" * 10**6})["trouble"])
    assert takes.delete_takes(this) == {"ids": [id]}
    assert takes.list_takes(ME)["any"] is False
    assert takes.restore_takes(this) == {"ids": [id]}
    assert names(takes.list_takes(ME)) == ["jazz"]


def test_takes_that_were_marked_and_are_gone_are_told(takes: OwnTakes) -> None:
    there, deleted = kept(takes, "jazz", "techno")
    takes.delete_takes({**ME, "ids": [deleted]})
    # Marked takes that a search does not find are still there.
    asked = {**ME, "words": "funk", "marked": [there, deleted, "dropped"]}
    assert takes.list_takes(asked)["gone"] == [deleted, "dropped"]
    assert takes.list_takes(ME)["gone"] == []


def test_another_visitor_finds_nothing_and_changes_nothing(takes: OwnTakes, tmp_path: Path) -> None:
    [id] = kept(takes, "jazz")
    theirs = {**OTHER, "ids": [id], "name": "mine now", "favourite": True}
    nothing = {"rows": [], "count": 0, "any": False, "gone": [id]}
    assert takes.list_takes({**OTHER, "marked": [id]}) == nothing
    assert "not there" in told(takes.rename_take(theirs)["trouble"])
    assert "not there" in told(takes.favour_take(theirs)["trouble"])
    assert takes.delete_takes(theirs) == {"ids": []}
    for look in (takes.takes, takes.entry):
        with pytest.raises(MusicGenSpaceError, match="not there any more"):
            look(theirs)
    nothing = takes.export_takes(OTHER, tmp_path)
    assert isinstance(nothing, dict)
    assert told(nothing["trouble"]) == "There is nothing to export."
    assert names(takes.list_takes(ME)) == ["jazz"]


@pytest.mark.parametrize(
    "sent",
    [
        None,
        0,
        "x",
        [],
        {},
        {"visitor": "nobody"},
        ME,
        {**ME, "ids": "x"},
        {**ME, "ids": []},
        {**ME, "ids": [None]},
        {**ME, "ids": [["x"]]},
        {**ME, "ids": ["x" * 201]},
        {**ME, "ids": ["x"] * 101},
        {**ME, "ids": {"x": 1}},
        {**ME, "ids": ["\ud800", "../index", "x"], "name": {}, "favourite": "yes"},
        {**ME, "ids": ["x"], "name": "\x00\ud800", "words": ["x"], "after": 7},
        {**ME, "ids": ["x"], "words": "x" * 10**6, "after": "\ud800"},
        {**ME, "ids": ["x"], "marked": {"x": 1}},
        {**ME, "ids": ["x"], "marked": [None, ["x"], "\ud800", "x" * 10**6, *"abc" * 10**5]},
    ],
)
def test_nothing_odd_that_a_page_sends_raises_anything_else(
    takes: OwnTakes, tmp_path: Path, sent: object
) -> None:
    for method in (
        takes.list_takes,
        takes.rename_take,
        takes.favour_take,
        takes.delete_takes,
        takes.restore_takes,
    ):
        json.dumps(method(sent)).encode()
    takes.export_takes(sent, tmp_path)
    for look in (takes.takes, takes.entry):
        with pytest.raises(MusicGenSpaceError):
            look(sent)


def test_an_export_takes_the_place_of_the_last_one(takes: OwnTakes, tmp_path: Path) -> None:
    kept(takes, "jazz", "techno")
    first, second = (takes.export_takes(ME, tmp_path / "cache") for _ in range(2))
    assert isinstance(first, Path)
    assert isinstance(second, Path)
    assert not first.exists()
    assert len(zipfile.ZipFile(second).namelist()) == 3
    assert len(second.parent.name) == 32
    takes.keep(OTHER, [take()])
    others = takes.export_takes(OTHER, tmp_path / "cache")
    assert isinstance(others, Path)
    assert zipfile.ZipFile(others).namelist()[1:] == ["takes.json"]
    assert second.exists()


def test_what_can_not_be_kept_is_told_and_never_raised(
    takes: OwnTakes, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = take()
    many = Take(np.zeros((9, 100), np.float32), RATE, many.request, "home", "deaf", 1.0)
    assert takes.keep(ME, [many]) == ([], Message("Not kept in your takes, so download it."))

    def full(*_: object) -> None:
        raise LibraryUnavailable("The library of takes can't be used: the disk is full.")

    monkeypatch.setattr(library, "keep", full)
    ids, note = takes.keep(ME, [take()])
    assert ids == []
    assert str(note).endswith("the disk is full.")


def test_the_list_says_so_while_nothing_can_be_kept(
    takes: OwnTakes, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    [id] = kept(takes, "jazz")
    assert "note" not in takes.list_takes(ME)
    with monkeypatch.context() as disk:
        disk.setattr("musicgen_space.library.library.write_whole", full)
        assert takes.keep(ME, [take()])[0] == []
        assert "Deleting some makes room" in told(takes.list_takes(ME)["note"])
        assert takes.delete_takes({**ME, "ids": [id]}) == {"ids": [id]}
    kept(takes, "funk")
    assert "note" not in takes.list_takes(ME)


def test_the_list_says_what_its_storage_does(
    takes: OwnTakes, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    def storage(**what: bool) -> None:
        monkeypatch.setattr(Library, "storage", Storage(**what))

    assert takes.keep(ME, [take()])[1] == ""
    assert "again" not in takes.list_takes(ME)
    storage(storing=True)
    storing = takes.list_takes(ME)
    assert "note" not in storing
    assert storing["again"] > 0  # it may still fail
    storage(reading=True)
    reading = takes.list_takes(ME)
    assert "still being read" in told(reading["note"])
    storage(reading=True, failing=True)
    failing = takes.list_takes(ME)
    assert "doesn't work" in told(failing["note"])
    assert 0 < reading["again"] < failing["again"]
    [id], note = takes.keep(ME, [take("funk")])
    assert "Not stored yet" in str(note)
    assert takes.list_takes(ME)["rows"][0]["id"] == id
    assert takes.are_lasting
    storage(lasting=False)
    assert not takes.are_lasting


def test_without_a_mounted_bucket_a_space_says_that_takes_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    space = Settings(host="0.0.0.0", library=tmp_path / "data", library_bucket=True)
    for mounted in (False, True):
        monkeypatch.setattr("musicgen_space.serve.is_mounted", lambda _, mounted=mounted: mounted)
        library = open_library(space)
        assert isinstance(library, Library)
        about = build_library_panel(OwnTakes(library, space, {}), wanted=True).props["about"]
        library.close()
        assert library.storage.lasting == mounted == isinstance(library, BucketLibrary)
        assert ("until this page restarts" in told(about)) != mounted
    [line] = caplog.messages
    assert line.startswith(f"No bucket is mounted at {tmp_path / 'data'}")


def test_nothing_is_kept_for_nobody_or_without_a_library(takes: OwnTakes, library: Library) -> None:
    assert takes.keep({"visitor": "nobody"}, [take()]) == ([], "")
    without = OwnTakes(None, SHARED, {})
    assert without.keep(ME, [take()]) == ([], "")
    assert "reload" in told(without.list_takes(ME)["trouble"])


def test_a_library_that_can_not_be_opened_is_one_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        assert open_library(Settings(library=Path("/dev/null/library"))) is None
    [line] = caplog.messages
    assert line.startswith("Takes are not kept. The library of takes can't be used: ")
    assert open_library(Settings()) is None
