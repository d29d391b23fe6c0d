"""The benchmark for a GPU runs anywhere, in small, and what it compares is the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import gpu


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
