"""musicnn without TensorFlow: its checkpoint's format, and what it computes."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("librosa", reason="requirements-training.txt is not installed")

import torch

from training.measure import tagger
from training.measure.bundle import read_bundle


def varint(number: int) -> bytes:
    groups = []
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    return bytes([*groups, number])


def block(entries: list[tuple[bytes, bytes]]) -> bytes:
    """Keys share what they can; one restart; the trailer says "uncompressed"."""
    data, before = b"", b""
    for key, value in entries:
        shared = 0
        while shared < min(len(key), len(before)) and key[shared] == before[shared]:
            shared += 1
        lengths = (shared, len(key) - shared, len(value))
        data += b"".join(map(varint, lengths)) + key[shared:] + value
        before = key
    return data + struct.pack("<II", 0, 1) + b"\0" + bytes(4)


def write_bundle(folder: Path, variables: dict[str, np.ndarray]) -> None:
    entries, data = [(b"", b"\x08\x01")], b""
    for name, value in sorted(variables.items()):
        sizes = [b"\x08" + varint(size) for size in value.shape]
        shape = b"".join(b"\x12" + varint(len(size)) + size for size in sizes)
        fields = b"\x08\x01\x12" + varint(len(shape)) + shape
        fields += b"\x20" + varint(len(data)) + b"\x28" + varint(value.nbytes) + b"\x35abcd"
        entries.append((name.encode(), fields))
        data += value.tobytes()
    table = block(entries)
    handle = varint(0) + varint(len(table) - 5)
    index = block([(b"z", handle)])
    footer = varint(0) + varint(0) + varint(len(table)) + varint(len(index) - 5)
    footer = footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    (folder / ".index").write_bytes(table + index + footer)
    (folder / ".data-00000-of-00001").write_bytes(data)


def test_a_checkpoint_is_read_without_tensorflow(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    variables = {
        name: random.normal(size=shape).astype(np.float32)
        for name, shape in {"conv/bias": (7,), "conv/kernel": (3, 200, 1), "step": ()}.items()
    }
    write_bundle(tmp_path, variables)
    read = read_bundle(tmp_path)
    assert read.keys() == variables.keys()
    for name, value in variables.items():
        np.testing.assert_array_equal(read[name], value)


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".index").write_bytes(bytes(100))
    (tmp_path / ".data-00000-of-00001").write_bytes(b"")
    with pytest.raises(ValueError, match="no index"):
        read_bundle(tmp_path)


def test_a_sound_becomes_patches_of_three_seconds() -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, 32000 * 7).astype(np.float32)
    assert tagger.spectrogram(sound, 32000).shape == (2, 187, 96)
    with pytest.raises(ValueError, match="needs 3 s"):
        tagger.spectrogram(sound[:32000], 32000)


# What TensorFlow 2.21 computed with musicnn's own code (`models.define_model`, through
# `compat.v1`) on the input below: the first numbers and the sum of likelihoods, then of features.
EXPECTED = {
    "MTT_musicnn": (
        ([0.0067721475, 0.0067873090, 0.0056262081, 0.7044317126], 4.0512676),
        ([-0.0799516141, -0.0328786969, -0.0922630429, 0.9531347752], 94.0716858),
    ),
    "MSD_musicnn": (
        ([0.0055748359, 0.0008174941, 0.0150015382, 0.0281308293], 2.9465096),
        ([-0.1771755815, -0.1270287931, -0.2848263681, -0.2751210034], 197.4184265),
    ),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_it_computes_what_tensorflow_does(name: str) -> None:
    try:
        package = tagger.find_package()
    except tagger.NoTagger as missing:
        pytest.skip(str(missing))
    waves = 1 + np.sin(np.arange(2 * 187 * 96) * 0.01)
    patches = torch.from_numpy(waves.astype(np.float32).reshape(2, 187, 96))
    results = tagger._Network(package / name)(patches)
    for result, (first, total) in zip(results, EXPECTED[name], strict=True):
        assert result.flatten()[:4].tolist() == pytest.approx(first, abs=2e-5)
        assert float(result.sum()) == pytest.approx(total, rel=1e-4)
