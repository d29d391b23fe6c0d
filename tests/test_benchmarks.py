"""Benchmarks in small: that they run, and that what they compare is the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import gpu, many
from musicgen_space.engine.musicgen import MusicGen


def test_the_benchmark_for_a_gpu_compares_measures_and_reports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "results/gpu.json"
    size = ["--takes", "1", "3", "--seconds", "0.3", "--json", str(file)]
    gpu.main(["--device", "cpu", "--shape", "tiny", *size])
    found = json.loads(file.read_text())
    assert found["dtype"] == "float32"
    assert found["complaints"] == []
    for takes in ("1", "3"):
        measured = found["shapes"]["tiny"][takes]
        assert measured["differences"]["graph"] == 0
        assert measured["differences"]["transformers"] < 1e-5
        assert measured["seconds_a_step"].keys() == {"graph", "plain", "transformers"}
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| 3 |")]
    assert [line.split(" | ")[1] for line in table] == ["graph", "plain", "transformers"]


def test_what_a_step_takes_is_told_by_its_parts(tiny: MusicGen) -> None:
    parts = many.beside_the_decoder(tiny, 2)
    assert min(parts.values()) > 0
    assert parts["decoder"] + parts["sampling"] < parts["step"]
