"""The library of kept takes: nothing is lost, nobody sees what is another's."""

from __future__ import annotations

import json
import os
import random
import re
import threading
import time
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen_space.audio.peaks import normalised_peaks
from musicgen_space.clip import Clip
from musicgen_space.errors import InvalidRequest, LibraryUnavailable
from musicgen_space.library import MAX_NAME_CHARACTERS, Library
from musicgen_space.request import MusicRequest
from musicgen_space.take import Receipt
from tests.library import child as library_child
from tests.library.child import RATE, in_a_child, listed, opened, sounds_in, take_of


@pytest.fixture
def library(folder: Path) -> Iterator[Library]:
    library = opened(folder)
    yield library
    library.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """One library for many examples, each with a visitor of its own."""
    library = opened(tmp_path_factory.mktemp("shared"))
    yield library
    library.close()


def test_a_kept_take_is_listed_with_all_that_made_it(library: Library) -> None:
    clip = Clip(np.zeros((1, RATE), np.float32), RATE, "song.mp3")
    receipt = Receipt(cost=0.5, credits_left=7.0, request_id="abc")
    take = replace(
        take_of("warm  jazz", seed=7, top_k=50, continue_from=clip), receipt=receipt, stopped=True
    )
    [id] = library.keep("owner", [take])
    entry = library.entry("owner", id)
    assert entry is not None
    assert library.search("owner") == [entry]
    assert (entry.id, entry.name, entry.prompt) == (id, "warm jazz", "warm jazz")
    assert (entry.model, entry.backend, entry.seed) == ("musicgen-nano", "local", 7)
    assert (entry.duration, entry.seconds_taken, entry.cost) == (0.02, 1.5, 0.5)
    assert (entry.favourite, entry.stopped, entry.batch) == (False, True, id)
    assert entry.settings["top_k"] == 50
    assert entry.settings["continue_from"] == clip.described()
    assert entry.settings["receipt"]["request_id"] == "abc"
    assert abs(datetime.now(UTC) - entry.created) < timedelta(minutes=1)
    assert len(entry.peaks) == 120
    assert max(entry.peaks) == 100


@pytest.mark.parametrize("channels", [1, 2])
def test_a_kept_take_plays_as_it_did(library: Library, folder: Path, channels: int) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, (channels, 5000)).astype(np.float32)
    clip = Clip(np.zeros((1, RATE), np.float32), RATE)
    receipt = Receipt(cost=0.5)
    kept = replace(take_of(samples=samples, melody=clip, seed=3), receipt=receipt, stopped=True)
    [id] = library.keep("owner", [kept])
    take = library.take("owner", id)
    assert take is not None
    assert np.abs(take.samples - samples).max() < 1e-4
    assert take.request == replace(kept.request, melody=None)
    assert take.clips == {"melody": clip.facts}
    assert (take.sample_rate, take.model, take.backend) == (RATE, kept.model, kept.backend)
    assert (take.seconds_taken, take.stopped, take.receipt) == (1.5, True, receipt)
    entry = library.entry("owner", id)
    assert entry is not None
    assert entry.bytes == (folder / "takes" / f"{id}.flac").stat().st_size


def test_variations_share_a_batch(library: Library) -> None:
    ids = library.keep("owner", [take_of(seed=seed) for seed in range(3)])
    [other] = library.keep("owner", [take_of()])
    assert [library.entry("owner", id).seed for id in ids] == [0, 1, 2]
    assert len({library.entry("owner", id).batch for id in ids}) == 1
    assert library.entry("owner", other).batch != library.entry("owner", ids[0]).batch
    assert library.keep("owner", []) == []


def test_a_sound_is_outlined_in_percent_of_its_loudest_sample() -> None:
    assert normalised_peaks(np.array([[0.0, 0.1, -0.2, 0.0], [0.0, 0.0, 0.0, 0.05]]), 2) == [
        50,
        100,
    ]
    assert normalised_peaks(np.zeros((1, 3)), 120) == [0, 0, 0]


def test_takes_outlast_the_program(folder: Path) -> None:
    first = opened(folder)
    ids = first.keep("owner", [take_of(), take_of()])
    first.set_favourite("owner", ids[0], True)
    first.rename("owner", ids[1], "Mine")
    before = first.search("owner")
    first.close()
    second = opened(folder)
    assert second.search("owner") == before
    second.close()


def test_the_newest_come_first_page_by_page(library: Library) -> None:
    ids = [id for number in range(7) for id in library.keep("owner", [take_of(seed=number)])]
    pages, after = [], ""
    while page := listed(library, limit=3, after=after):
        pages.append(page)
        after = page[-1]
        library.delete("owner", [after])  # it keeps its place
    assert [id for page in pages for id in page] == ids[::-1]
    assert [len(page) for page in pages] == [3, 3, 1]
    assert listed(library, after="unknown") == []
    assert listed(library, limit=0) == listed(library, limit=-1) == []


words = st.text("aAbBéÉßẞΣς%_'\"\\ \u0301\n", max_size=6)


@settings(deadline=None, max_examples=50)
@given(st.lists(words.map(lambda text: f"x{text}"), min_size=1, max_size=5), words)
def test_a_search_finds_what_has_every_word(
    shared: Library, prompts: list[str], wanted: str
) -> None:
    visitor = os.urandom(8).hex()
    ids = shared.keep(visitor, [take_of(prompt) for prompt in prompts])
    expected = [
        id
        for id, prompt in zip(ids, prompts, strict=True)
        if all(folded(word) in folded(f"{prompt}\nmusicgen-nano") for word in wanted.split())
    ]
    assert listed(shared, visitor, query=wanted) == expected[::-1]
    assert shared.count(visitor, wanted) == len(expected)


def folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def test_a_search_looks_at_name_prompt_and_model_and_counts_all(library: Library) -> None:
    funk, jazz = library.keep("owner", [take_of("upbeat FUNK"), take_of("Füße im Jazz")])
    library.rename("owner", funk, "Sunday")
    library.set_favourite("owner", jazz, True)
    assert listed(library, query="sunday Nano upbeat") == [funk]
    assert listed(library, query="FÜSSE") == [jazz]
    assert listed(library, query="sundayupbeat") == []
    assert listed(library, query="", favourites=True) == [jazz]
    assert listed(library, query="funk", favourites=True) == []
    assert library.count("owner", "nano") == 2
    assert library.count("owner", favourites=True) == 1


@pytest.mark.parametrize("strange", ["\ud800", "\0", "%", "a " * 5000, "b" * 10**6, "' OR 1=1 --"])
def test_strange_words_and_ids_do_no_harm(library: Library, strange: str) -> None:
    [id] = library.keep("owner", [take_of("a")])
    found = listed(library, query=strange)
    assert found in ([], [id])
    assert library.count("owner", strange) == len(found)
    assert listed(library, after=strange) == []
    assert library.entry("owner", strange) is library.take("owner", strange) is None
    assert library.delete("owner", [strange, *map(str, range(40_000))]) == []
    assert listed(library, strange) == []


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=150))
def test_a_name_is_one_line_of_limited_length_or_refused(shared: Library, name: str) -> None:
    visitor = os.urandom(8).hex()
    [id] = shared.keep(visitor, [take_of("the prompt")])
    line = " ".join(name.split())
    try:
        entry = shared.rename(visitor, id, name)
    except InvalidRequest:
        assert len(line) > MAX_NAME_CHARACTERS or any(
            unicodedata.category(letter) in ("Cc", "Cs") for letter in line
        )
        assert shared.entry(visitor, id).name == "the prompt"
        return
    assert entry == shared.entry(visitor, id)
    assert entry.name == (line or "the prompt")
    assert listed(shared, visitor, query=name) == [id]
    assert listed(shared, visitor, query="prompt") == [id]
    assert shared.rename(visitor, id, "").name == "the prompt"


def test_another_visitor_finds_nothing_and_changes_nothing(
    library: Library, folder: Path, tmp_path: Path
) -> None:
    kept, deleted = library.keep("a-secret-token", [take_of(), take_of()])
    library.delete("a-secret-token", [deleted])
    before = library.search("a-secret-token")
    for stranger in ("another", "", "\ud800"):
        assert library.search(stranger) == library.search(stranger, after=kept) == []
        assert library.count(stranger) == 0
        assert library.entry(stranger, kept) is library.take(stranger, kept) is None
        assert library.rename(stranger, kept, "theirs") is None
        assert library.set_favourite(stranger, kept, True) is None
        assert library.delete(stranger, [kept]) == library.restore(stranger, [deleted]) == []
        assert library.export(stranger, tmp_path / "all.zip") == 0
    assert library.search("a-secret-token") == before
    stored = b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
    assert b"a-secret-token" not in stored


def test_nobody_keeps_nothing(library: Library) -> None:
    with pytest.raises(InvalidRequest, match="visitor"):
        library.keep("", [take_of()])


def test_what_was_deleted_can_be_restored_for_a_while(
    library: Library, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = library.keep("owner", [take_of(seed=seed) for seed in range(3)])
    library.set_favourite("owner", ids[1], True)
    assert library.delete("owner", [ids[1], "unknown", ids[0], ids[1]]) == [ids[1], ids[0]]
    assert listed(library) == [ids[2]]
    assert library.entry("owner", ids[0]) is library.take("owner", ids[0]) is None
    assert (
        library.rename("owner", ids[0], "x") is library.set_favourite("owner", ids[0], True) is None
    )
    assert library.count("owner", favourites=True) == 0
    assert library.delete("owner", [ids[0]]) == []
    assert library.restore("owner", [ids[1], ids[2]]) == [ids[1]]
    assert listed(library) == [ids[2], ids[1]]
    assert library.entry("owner", ids[1]).favourite
    assert library.take("owner", ids[1]) is not None
    monkeypatch.setattr("musicgen_space.library.library.UNDO_SECONDS", -1)
    assert listed(library) == [ids[2], ids[1]]
    assert library.restore("owner", ids) == []
    assert sounds_in(folder) == sorted(ids[1:])


class Quota:
    """Takes of one size in a library that has room for so many of them."""

    def __init__(self, folder: Path, total: int, visitor: int | None) -> None:
        probe = opened(folder / "probe")
        [id] = probe.keep("owner", [take_of()])
        size = probe.entry("owner", id).bytes + 100  # tags are not all of one length
        probe.close()
        visitor_bytes = None if visitor is None else visitor * size
        self.folder = folder / "library"
        self.library = Library(self.folder, total_bytes=total * size, visitor_bytes=visitor_bytes)

    def keep(self, visitor: str = "owner", how_many: int = 1) -> list[str]:
        return self.library.keep(visitor, [take_of()] * how_many)


@pytest.fixture
def quota(tmp_path: Path) -> Iterator[Callable[..., Quota]]:
    opened_ones: list[Quota] = []

    def open_one(total: int, visitor: int | None = None) -> Quota:
        opened_ones.append(Quota(tmp_path, total, visitor))
        return opened_ones[-1]

    yield open_one
    for each in opened_ones:
        each.library.close()


def test_the_oldest_make_room_and_favourites_last(quota: Callable[..., Quota]) -> None:
    room = quota(total=3)
    favourite, second, third = room.keep()[0], room.keep()[0], room.keep()[0]
    room.library.set_favourite("owner", favourite, True)
    [fourth] = room.keep()
    assert listed(room.library) == [fourth, third, favourite]
    assert sounds_in(room.folder) == sorted([fourth, third, favourite])
    assert room.library.take("owner", second) is None
    newest = room.keep(how_many=3)
    assert listed(room.library) == newest[::-1]


def test_what_was_just_kept_stays_even_if_it_is_too_much(quota: Callable[..., Quota]) -> None:
    room = quota(total=2, visitor=1)
    room.keep("another")
    ids = room.keep(how_many=4)
    assert listed(room.library) == ids[::-1]
    assert listed(room.library, "another") == []


def test_what_was_deleted_makes_room_before_everything_else(quota: Callable[..., Quota]) -> None:
    room = quota(total=3)
    old, middle = room.keep(how_many=2)
    [deleted] = room.keep("another")
    room.library.set_favourite("another", deleted, True)
    room.library.delete("another", [deleted])
    [new] = room.keep()
    assert listed(room.library) == [new, middle, old]
    assert room.library.restore("another", [deleted]) == []


def test_a_visitor_who_has_too_much_loses_their_own(quota: Callable[..., Quota]) -> None:
    room = quota(total=100, visitor=2)
    others = room.keep("another", 2)
    ids = [room.keep()[0] for _ in range(4)]
    assert listed(room.library) == ids[:1:-1]
    assert listed(room.library, "another") == others[::-1]


def test_a_visitors_own_make_room_before_those_of_others(quota: Callable[..., Quota]) -> None:
    room = quota(total=4)
    others = room.keep("another", 2)
    room.library.set_favourite("another", others[0], True)
    mine = room.keep(how_many=2)
    room.library.set_favourite("owner", mine[0], True)
    [new] = room.keep()
    assert listed(room.library) == [new, mine[0]]
    [newer] = room.keep()
    [newest] = room.keep()
    assert listed(room.library) == [newest, mine[0]]
    assert listed(room.library, "another") == others[::-1]
    both = room.keep(how_many=2)  # own ones that are no favourites, then others' such
    assert listed(room.library) == [*both[::-1], mine[0]]
    assert listed(room.library, "another") == others[:1]
    assert room.library.entry("owner", newer) is None


def test_everything_can_be_taken_along_as_a_zip(library: Library, tmp_path: Path) -> None:
    prompts = ["Füße / jazz: ?", "füße ~ JAZZ", "🎵", "日本の祭り" * 50]
    ids = library.keep("owner", [take_of(prompt, seed=7) for prompt in prompts])
    [deleted] = library.keep("owner", [take_of("deleted")])
    library.keep("another", [take_of("another's")])
    library.delete("owner", [deleted])
    library.set_favourite("owner", ids[0], True)
    path = tmp_path / "all.zip"
    assert library.export("owner", path) == 4
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        *names, index = archive.namelist()
        takes = json.loads(archive.read(index))
        sizes = {archive.getinfo(name).file_size for name in names}
    assert index == "takes.json"
    assert [take["file"] for take in takes] == names
    assert [take["prompt"] for take in takes] == prompts[::-1]
    assert [take["favourite"] for take in takes] == [False, False, False, True]
    assert takes[0]["settings"]["seed"] == 7
    assert sizes == {library.entry("owner", id).bytes for id in ids}
    days = len("2026-03-14 ")
    assert [name[days:] for name in names[1:]] == [
        "take, seed 7.flac",
        "füße JAZZ, seed 7.flac",
        "Füße jazz, seed 7 (2).flac",
    ]
    assert all(len(name.encode()) < 250 for name in names)


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "../../etc/passwd",
        "a\u202egnp.exe",
        "\"'&\\ CON",
        "{}{n}",
        "-rf",
    ],
)
def test_any_name_is_data_in_a_zip_and_no_path(library: Library, tmp_path: Path, name: str) -> None:
    [id] = library.keep("owner", [take_of(name, negative_prompt=name)])
    library.rename("owner", id, name)
    library.export("owner", tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        file, index = archive.namelist()
        [take] = json.loads(archive.read(index))
    assert take["name"] == take["prompt"] == take["settings"]["negative_prompt"] == name
    assert re.fullmatch(r"\d{4}-\d\d-\d\d [\w ]+, seed \d+\.flac", file)


def test_file_names_in_a_zip_fit_any_disk(library: Library, tmp_path: Path) -> None:
    library.keep("owner", [take_of("\U00020000" * 100)])
    library.export("owner", tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert max(len(name.encode()) for name in archive.namelist()) < 255


def test_an_export_leaves_out_what_just_went_and_leaves_nothing_by_halves(
    library: Library, folder: Path, tmp_path: Path
) -> None:
    gone, there = library.keep("owner", [take_of(), take_of()])
    (folder / "takes" / f"{gone}.flac").unlink()
    assert library.take("owner", gone) is None
    assert library.export("owner", tmp_path / "all.zip") == 1
    sound = folder / "takes" / f"{there}.flac"
    sound.unlink()
    sound.symlink_to(sound)
    with pytest.raises(LibraryUnavailable):
        library.export("owner", tmp_path / "some.zip")
    assert not (tmp_path / "some.zip").exists()
    with pytest.raises(LibraryUnavailable):
        library.export("owner", tmp_path / "no such folder" / "all.zip")


@pytest.mark.parametrize(("rounds", "visitor_bytes"), [(40, None), (10, 12_000)])
def test_no_kill_loses_a_take_or_what_was_done_to_it(
    folder: Path, rounds: int, visitor_bytes: int | None
) -> None:
    """With 12,000 bytes for the visitor, most takes are dropped for later ones."""
    kept: dict[str, dict[str, set[Any]]] = {}  # of each take, what may be true of it
    for _ in range(rounds):
        for when, verb, id, value in killed_at_random(folder, visitor_bytes):
            if verb == "keep":
                kept[id] = {"name": {"jazz"}, "favourite": {False}, "deleted": {False}}
            elif verb != "open" and id in kept:
                kept[id][verb] = {value} | (kept[id][verb] if when == "will" else set())
        library = opened(folder, visitor_bytes)
        there = {entry.id: entry for entry in library.search("owner", limit=10**6)}
        assert all(library.take("owner", id) is not None for id in there.keys() - kept.keys())
        assert not [*(folder / "takes").glob("*.part")]
        for id, told in kept.items():
            assert (id not in there) in told["deleted"] or visitor_bytes is not None
            if id in there:
                assert there[id].name in told["name"]
                assert there[id].favourite in told["favourite"]
                told |= {"name": {there[id].name}, "favourite": {there[id].favourite}}
            told["deleted"] = {id not in there}
        for id, entry in there.items():
            kept.setdefault(id, {"name": {entry.name}, "favourite": {False}, "deleted": {False}})
        library.close()
    assert len(kept) > rounds
    library = opened(folder, visitor_bytes)
    assert all(library.take("owner", id) is not None for id in listed(library))
    library.restore("owner", [*kept])
    assert sounds_in(folder) == sorted(listed(library))
    assert visitor_bytes is not None or len(listed(library)) == len(kept)
    library.close()


def killed_at_random(folder: Path, visitor_bytes: int | None) -> list[tuple[Any, ...]]:
    """Let a process use the library and kill it while it opens it or later; → what it said."""
    child, answer = in_a_child(library_child.live_until_killed, folder, visitor_bytes)
    said = [answer.recv() for _ in range(random.randint(1, 9))]
    time.sleep(random.uniform(0, 0.03 if len(said) > 1 else 0.3))
    child.kill()
    child.join()
    while answer.poll():
        try:
            said.append(answer.recv())
        except EOFError:
            break
    return said


def test_threads_share_a_library(library: Library, folder: Path, tmp_path: Path) -> None:
    start = threading.Barrier(8)

    def live(visitor: str) -> None:
        start.wait()
        for number in range(5):
            first, second = library.keep(visitor, [take_of(), take_of()])
            assert library.rename(visitor, first, f"number {number}").id == first
            assert library.set_favourite(visitor, second, True).favourite
            assert library.delete(visitor, [second]) == [second]
            assert library.take(visitor, first) is not None
            assert library.count(visitor) == number + 1
        assert library.export(visitor, tmp_path / f"{visitor}.zip") == 5

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(live, f"visitor {n}") for n in range(8)]:
            done.result()
    assert len(sounds_in(folder)) == 80


def test_processes_share_a_folder_from_its_first_moment(folder: Path) -> None:
    started = [in_a_child(library_child.keep_some, folder, 10) for _ in range(4)]
    kept = [id for _, answer in started for id in answer.recv()]
    for child, _ in started:
        child.join()
    library = opened(folder)
    assert sorted(listed(library)) == sorted(kept) == sounds_in(folder)
    assert len(kept) == 40
    library.close()


def test_a_change_is_seen_by_another_process_at_once(library: Library, folder: Path) -> None:
    other = opened(folder)
    [id] = other.keep("owner", [take_of()])
    assert listed(library) == [id]
    library.delete("owner", [id])
    assert listed(other) == []
    other.close()


def test_a_request_that_names_a_model_can_be_kept(library: Library) -> None:
    request = MusicRequest("jazz", model="musicgen-nano")
    [id] = library.keep("owner", [replace(take_of(), request=request)])
    assert library.take("owner", id).model == "musicgen-nano"
