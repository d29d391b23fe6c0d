"""Many clients, good and bad, and a server that is killed meanwhile: the books are right."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from benchmarks.clients import FAULTY
from benchmarks.load import Books, Load, measured


def test_under_load_and_faults_no_job_is_lost_and_each_take_is_paid_once(tmp_path: Path) -> None:
    load = Load(clients=8, requests=2 * len(FAULTY), seconds=1.0)
    report = measured(load, f"sqlite:///{tmp_path}/server.db")
    books = Books(**report["books"])
    assert books.balanced, books
    assert books.finished > len(FAULTY) // 2
    ends = {kind: Counter(found["ends"]) for kind, found in report["kinds"].items()}
    for kind in ("v1 named", "v2"):  # whoever asks again gets it
        assert [*ends[kind]] == ["made"]
    assert {*ends["malformed"], *ends["oversized"]} <= {"refused", "cut"}
    statuses = {each for found in report["kinds"].values() for each in found["statuses"]}
    assert statuses <= {"200", "400", "413"}
