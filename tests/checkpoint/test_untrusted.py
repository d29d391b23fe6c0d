"""Checkpoints that strangers made: small files that would fill the memory, hang or run code."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml

from musicgen_space.engine import memory
from musicgen_space.engine.checkpoint import loader, tensors
from musicgen_space.engine.checkpoint.loader import load
from musicgen_space.engine.checkpoint.untrusted import check_weight_file, read_bounded
from musicgen_space.engine.placement import CPU
from musicgen_space.engine.runtimes.registry import choose_runtime
from musicgen_space.errors import InvalidCheckpoint, ModelUnavailable, OutOfMemory
from tests.checkpoint.adapters import write_adapter
from tests.checkpoint.audiocraft_format import audiocraft_from
from tests.checkpoint.conftest import not_needed

ENDS_OTHERWISE = r"pytorch_model\.bin is damaged: its end is not as torch\.save writes it"

resource: Any = pytest.importorskip("resource")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux does")

MEGABYTE = 2**20
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.int8, torch.int64, torch.bool)


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint, to be made hostile."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


@contextmanager
def little_memory() -> Iterator[None]:
    """What is done here may take 256 MB: more is an error, and never there."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + 256 * MEGABYTE, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def refused(folder: Path, why: str) -> None:
    """``folder`` is refused in words, and its need told, without much memory."""
    with little_memory():
        with pytest.raises(InvalidCheckpoint, match=why):
            load(folder, fetch=not_needed)
        with suppress(InvalidCheckpoint, ModelUnavailable):
            memory.checkpoint_bytes(loader.weights_folder(folder, not_needed), choose_runtime(CPU))


def as_pickle(folder: Path, content: object = None) -> Path:
    """Let the weights of ``folder``, or something else, be in pytorch_model.bin."""
    whole, file = folder / "model.safetensors", folder / "pytorch_model.bin"
    torch.save(safetensors.torch.load_file(whole) if content is None else content, file)
    whole.unlink()
    return file


def rezip(file: Path, change: Callable[[str, bytes], bytes], compression: int) -> None:
    """Write the archive ``file`` again, its members changed."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", compression, compresslevel=1) as archive:
        for name, content in members.items():
            archive.writestr(name, change(name, content))


# Files that are none.


@pytest.mark.parametrize("name", ["config.json", "adapter_config.json", "tokenizer_config.json"])
def test_a_device_without_end_is_not_read(folder: Path, tmp_path: Path, name: str) -> None:
    if name == "adapter_config.json":
        folder = write_adapter(tmp_path / "adapter", folder)
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")
    refused(folder, f"{name} is not a regular file")


@pytest.mark.parametrize("name", ["config.json", "special_tokens_map.json"])
def test_a_pipe_is_not_waited_for(folder: Path, name: str) -> None:
    def write() -> None:  # nothing: who waits for it goes on, and is told apart
        os.close(os.open(folder / name, os.O_WRONLY))

    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        with pytest.raises(InvalidCheckpoint, match=f"{name} is not a regular file"):
            load(folder)
    finally:
        reader = os.open(folder / name, os.O_RDONLY | os.O_NONBLOCK)
        writer.join()  # it was let in now at the latest
        os.close(reader)


def test_a_shard_that_is_a_pipe_is_none(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "pytorch_model-00001-of-00001.bin")
    refused(folder, "has no weights")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json"])
def test_json_of_gigabytes_is_not_read(folder: Path, name: str) -> None:
    (folder / "model.safetensors").unlink()
    with (folder / name).open("wb") as file:
        file.truncate(2**32)
    refused(folder, rf"{name} has 4,294,967,296 bytes; the limit is 4,194,304")


def test_a_file_that_is_longer_than_it_says_is_cut() -> None:
    endless = Path("/proc/self/maps")  # which says that it has no bytes
    assert len(read_bounded(endless, 100)) == 100


def test_weights_are_no_device() -> None:
    with pytest.raises(InvalidCheckpoint, match="/dev/zero is not a regular file"):
        check_weight_file(Path("/dev/zero"))


@pytest.mark.parametrize("name", ["tokenizer.json", "added_tokens.json"])
def test_a_tokenizer_of_gigabytes_is_not_read(folder: Path, name: str) -> None:
    with (folder / name).open("wb") as file:
        file.truncate(2**32)
    refused(folder, rf"{name} has 4,294,967,296 bytes")


def test_a_tokenizer_can_not_count_to_any_number_of_entries(folder: Path) -> None:
    text = json.dumps({"tokenizer_class": "T5Tokenizer", "extra_ids": 10**9})
    (folder / "tokenizer_config.json").write_text(text)
    refused(folder, "says extra_ids 1000000000, more than 65536")


# Pickles and headers.


@pytest.mark.parametrize("kind", ["transformers", "audiocraft", "adapter"])
def test_a_pickle_that_inflates_is_refused(folder: Path, tmp_path: Path, kind: str) -> None:
    if kind == "transformers":
        file = as_pickle(folder)
    elif kind == "audiocraft":
        file = audiocraft_from(folder, tmp_path / "audiocraft") / "state_dict.bin"
    else:
        file = write_adapter(tmp_path / "adapter", folder, suffix="bin") / "adapter_model.bin"

    def inflate(name: str, content: bytes) -> bytes:
        return content + bytes(400 * MEGABYTE) if name.endswith("/data.pkl") else content

    rezip(file, inflate, zipfile.ZIP_DEFLATED)
    assert file.stat().st_size < 4 * MEGABYTE
    refused(file.parent, rf"{file.name} is compressed \(.*data\.pkl, of 419,4")


def test_a_pickle_of_many_small_things_is_refused(folder: Path) -> None:
    file = as_pickle(folder)
    lists = b"\x80\x02(" + b"]" * (5 * MEGABYTE) + b"l."

    def fill(name: str, content: bytes) -> bytes:
        return lists if name.endswith("/data.pkl") else content

    rezip(file, fill, zipfile.ZIP_STORED)
    refused(folder, r"data\.pkl in pytorch_model\.bin has 5,242,885 bytes; the limit is")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_can_not_ask_for_gigabytes_of_zeros(folder: Path, zipped: bool) -> None:
    class Zeros:
        def __reduce__(self) -> object:
            return bytearray, (2**33,)

    file = as_pickle(folder, {"zeros": Zeros()})
    torch.save({"zeros": Zeros()}, file, _use_new_zipfile_serialization=zipped)
    refused(folder, r"was refused: its pickle refers to \w+\.bytearray\.")


def test_an_archive_that_two_readers_would_see_differently_is_refused(folder: Path) -> None:
    file = as_pickle(folder)
    whole = file.read_bytes()
    for ending in (b"\0" * 30, b"PK\5\6" + bytes(18)):
        file.write_bytes(whole + ending)
        refused(folder, ENDS_OTHERWISE)


# What torch.save writes last: a record, where that is, and a record in the old form.
RECORD, LOCATOR, LAST = -98, -42, -22


@pytest.mark.parametrize(
    ("place", "content"),
    [
        (RECORD, b"PK\6\5"),
        (RECORD + 40, b"\1"),  # how long the directory is
        (LOCATOR, b"PK\6\5"),
        (LOCATOR + 8, b"\1"),  # where the record is
        (LAST, b"PK\5\7"),
        (-2, b"\1"),  # how long a comment is that follows
    ],
)
def test_an_archive_that_does_not_end_as_torch_writes_it_is_refused(
    folder: Path, place: int, content: bytes
) -> None:
    file = as_pickle(folder)
    whole = bytearray(file.read_bytes())
    assert whole[RECORD:][:4] + whole[LOCATOR:][:4] + whole[LAST:][:4] == b"PK\6\6PK\6\7PK\5\6"
    whole[len(whole) + place : len(whole) + place + len(content)] = content
    file.write_bytes(whole)
    refused(folder, ENDS_OTHERWISE)


def test_a_directory_of_many_megabytes_is_not_read(folder: Path) -> None:
    file = as_pickle(folder)
    with zipfile.ZipFile(file, "a") as archive:
        for number in range(80):
            archive.writestr(f"a/data/{number:060000}", b"")
    refused(folder, r"The directory of pytorch_model\.bin has 4,8\d\d,\d\d\d bytes; the limit is")


@pytest.mark.parametrize("name", ["archive/DATA.PKL", "archive/constants.PKL", "x/code/a.pkl"])
def test_every_pickle_in_an_archive_is_looked_at(folder: Path, name: str) -> None:
    """torch looks for names whatever their case."""
    file = as_pickle(folder)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(name, pickle.dumps(os.system, 2))
    refused(folder, r"its pickle refers to \w+\.system\.")


def test_a_folder_of_another_name_holds_no_numbers(folder: Path) -> None:
    file = as_pickle(folder)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("archive/more/data/0", bytes(5 * MEGABYTE))
    refused(folder, r"archive/more/data/0 in pytorch_model\.bin has 5,242,880 bytes; the limit is")


@pytest.mark.parametrize("place", range(5))
def test_each_pickle_of_the_old_format_is_looked_at(folder: Path, place: int) -> None:
    file = as_pickle(folder)
    pickles = [pickle.dumps({}, 2)] * 5
    pickles[place] = pickle.dumps(os.system, 2)
    file.write_bytes(b"".join(pickles))
    refused(folder, r"its pickle refers to \w+\.system\.")


def test_of_the_old_format_too_no_pickle_of_many_small_things_is_read(folder: Path) -> None:
    file = as_pickle(folder)
    lists = b"\x80\x02(" + b"]" * (5 * MEGABYTE) + b"l."
    file.write_bytes(pickle.dumps({}, 2) * 3 + lists + pickle.dumps([], 2))
    refused(folder, "pickle exhausted before seeing STOP")


def test_a_name_that_only_begins_like_one_of_tensors_is_none(folder: Path) -> None:
    file = as_pickle(folder)
    file.write_bytes(b"\x80\x02ccollections\nOrderedDict.fromkeys\n.")
    refused(folder, r"its pickle refers to collections\.OrderedDict\.fromkeys")


@pytest.mark.parametrize(
    ("field", "value"),
    [(10, struct.pack("<H", zipfile.ZIP_DEFLATED)), (24, struct.pack("<I", 9 * MEGABYTE))],
    ids=["method", "size"],
)
def test_an_archive_that_says_to_be_compressed_is_refused(
    folder: Path, field: int, value: bytes
) -> None:
    file = as_pickle(folder)
    rezip(file, lambda _, content: content, zipfile.ZIP_STORED)
    whole = bytearray(file.read_bytes())
    place = whole.index(b"PK\1\2") + field  # of the first member, as the directory has it
    whole[place : place + len(value)] = value
    file.write_bytes(whole)
    refused(folder, r"pytorch_model\.bin is compressed \(")


def test_few_numbers_can_not_pose_as_many(folder: Path) -> None:
    as_pickle(folder, {"enc_to_dec_proj.weight": torch.zeros(1).expand(2**16, 2**16)})
    refused(folder, r"pytorch_model\.bin claims more tensor data than the file has bytes")


@pytest.mark.parametrize("kind", ["script", "tar", "plain"])
def test_no_advice_is_given_to_read_a_file_that_could_run_code(folder: Path, kind: str) -> None:
    file = as_pickle(folder)
    if kind == "script":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("model/constants.pkl", pickle.dumps((), 2))
            archive.writestr("model/data.pkl", pickle.dumps({}, 2))
    else:
        file.write_bytes(pickle.dumps({"a": {1, 2}}, 4 if kind == "plain" else 2) * 5)
    with pytest.raises(InvalidCheckpoint) as caught:
        load(folder)
    assert "weights_only" not in str(caught.value)
    assert "can still be loaded" not in str(caught.value)


def test_a_header_of_many_megabytes_is_not_read(folder: Path) -> None:
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", 90 * MEGABYTE))
        file.truncate(100 * MEGABYTE)
    refused(folder, r"The header of model\.safetensors has 94,371,840 bytes")


# What torch itself writes.


def parameters() -> dict[str, torch.nn.Parameter]:
    return dict(torch.nn.Linear(8, 8).named_parameters())


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize(
    "content",
    [
        lambda: torch.nn.TransformerDecoderLayer(16, 2).state_dict(),  # with its versions
        parameters,
        lambda: {f"layers.{n}.weight": torch.zeros(8) for n in range(2000)},
        lambda: {str(dtype): torch.ones(2, 3, dtype=dtype) for dtype in DTYPES},
        lambda: {"tied": (one := torch.ones(9, 9)), "view": one[3:], "turned": one.T},
    ],
    ids=["module", "parameters", "many", "kinds", "shared"],
)
def test_what_torch_saves_is_read(
    tmp_path: Path, content: Callable[[], dict[str, torch.Tensor]], zipped: bool
) -> None:
    torch.save(content(), tmp_path / "a.bin", _use_new_zipfile_serialization=zipped)
    assert tensors.read_pickle(tmp_path / "a.bin").keys() == content().keys()


def test_an_archive_of_many_gigabytes_is_read(tmp_path: Path) -> None:
    """Offsets that need more than 32 bits are elsewhere in it."""
    with torch.serialization.skip_data():  # leaves room for numbers, which takes none on disk
        torch.save(
            {f"layers.{n}.weight": torch.zeros(600, 2**20) for n in range(3)}, tmp_path / "a"
        )
    assert (tmp_path / "a").stat().st_size > 2**32
    assert tensors.read_pickle(tmp_path / "a")["layers.2.weight"].shape == (600, 2**20)


# Configurations that ask for much.

HUGE = {
    "decoder": {"hidden_size": 2**16, "num_hidden_layers": 256, "ffn_dim": 2**20},
    "text_encoder": {"d_model": 2**16, "num_layers": 256, "d_ff": 2**20},
    "audio_encoder": {"hidden_size": 2**16, "codebook_dim": 2**16, "num_filters": 2**12},
}


@pytest.mark.parametrize("parts", [[part] for part in HUGE] + [[*HUGE]], ids="-".join)
def test_what_no_weights_are_there_for_is_never_made(folder: Path, parts: list[str]) -> None:
    config = json.loads((folder / "config.json").read_text())
    for part in parts:
        config[part] |= HUGE[part]
    (folder / "config.json").write_text(json.dumps(config))
    refused(folder, "lacks|has the shape|no weight")


def test_a_projection_that_is_left_out_is_no_way_to_any_size(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["decoder"]["hidden_size"] = config["text_encoder"]["d_model"] = 2**16
    (folder / "config.json").write_text(json.dumps(config))
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    kept = {name: w for name, w in weights.items() if not name.startswith("enc_to_dec_proj")}
    safetensors.torch.save_file(kept, folder / "model.safetensors")
    refused(folder, "has the shape")


@pytest.mark.parametrize("part", ["text_encoder", "audio_encoder"])
def test_labels_that_music_has_none_of_are_not_made(folder: Path, part: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    config[part]["num_labels"] = 10**9
    config["decoder"]["vocab_size"] += 1  # refused afterwards, in words
    (folder / "config.json").write_text(json.dumps(config))
    refused(folder, "has the shape|EnCodec has")


def test_a_text_that_refers_to_itself_is_refused(folder: Path, tmp_path: Path) -> None:
    folder = audiocraft_from(folder, tmp_path / "audiocraft")
    package = torch.load(folder / "state_dict.bin", weights_only=True)
    lists = ["l0: &l0 [x, x, x, x, x, x, x, x]"]
    lists += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 8)}]" for n in range(1, 9)]
    config = yaml.safe_load(package["xp.cfg"])
    config["fuser"].pop("sum", None)
    text = yaml.safe_dump(config).replace("fuser:\n", "fuser:\n  sum: *l8\n")
    package["xp.cfg"] = "\n".join(lists) + "\n" + text
    torch.save(package, folder / "state_dict.bin")
    refused(folder, "no readable xp.cfg: it has aliases")


def test_weights_that_are_there_and_do_not_fit_are_not_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensors, "_stacked", lambda *_: pytest.fail("weights were read"))
    monkeypatch.setattr(loader, "free_bytes", lambda _: 100_000)
    with pytest.raises(OutOfMemory, match="not enough memory for the model copy"):
        load(folder)
