"""How the HTTP API bears many clients at once, and what happens to them and to it meanwhile.

Each client sends one request after the other: Segmind's v1, v2 followed to its file, and one whose
sound is sent while it is made. Among them are clients that hang up in the middle of the request, of
waiting and of the sound, that read slowly, and that send too much or nonsense; at half time the
server is killed, and starts again. Then the books are read: what became of each job that was taken,
and whether each take was paid once. Measured is the time to the first byte of an answer, by kind.

The backend hums at 100 × real time, so the server's own part shows. ``--calm`` leaves the faults
out and shows how much it bears; ``--url`` and ``--key`` take another server for that, whose books
can't be read. Run it from the project's root::

    python -m benchmarks.load [--clients 32] [--requests 200] [--seconds 2] [--calm]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import select

from benchmarks.clients import CALM, FAULTY, Client, Outcome, Wishes
from musicgen_space.server.accounts.keys import Keys, as_credits
from musicgen_space.server.database import Database, Job
from musicgen_space.server.jobs.store import COMPLETED, OPEN
from tests.server.fixtures import PRICE
from tests.server.humming import ServerProcess

BALANCE = 1e6
_SETTLED_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent: ``seconds`` are those of music in a take."""

    clients: int = 32
    requests: int = 200
    seconds: float = 2.0
    calm: bool = False


@dataclass(frozen=True, slots=True)
class Books:
    """What became of the jobs that were taken, and of the money, in credits."""

    accepted: int
    finished: int
    failed_and_reported: int
    lost: int
    charged_twice: int
    unpaid: int
    credits_left: float
    credits_expected: float

    @property
    def balanced(self) -> bool:
        """Whether nothing is lost, paid twice or not at all."""
        wrong = self.lost, self.charged_twice, self.unpaid
        return not any(wrong) and abs(self.credits_left - self.credits_expected) < 1e-6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--requests", type=int, default=200, help="of all clients together")
    parser.add_argument("--seconds", type=float, default=2, help="of music in a take")
    parser.add_argument("--calm", action="store_true", help="no faults, and nobody is killed")
    parser.add_argument("--database", metavar="URL", help="(default: SQLite in a new folder)")
    parser.add_argument("--url", help="of a server that runs")
    parser.add_argument("--key", default="", help="of that server")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/load.json"))
    options = parser.parse_args()
    load = Load(options.clients, options.requests, options.seconds, options.calm or options.url)
    if options.url:
        report = told(load, *sent(load, options.url, options.key))
    else:
        with tempfile.TemporaryDirectory() as folder:
            report = measured(load, options.database or f"sqlite:///{folder}/server.db")
    show(report)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2))


def measured(load: Load, database_url: str) -> dict[str, Any]:
    """A server of its own under a load; → what came of it."""
    with closing(Database(database_url)) as database:
        account, key = Keys(database).add("load", balance=BALANCE, per_minute=10_000)
        with ServerProcess(database_url, at_once=8) as server:
            outcomes, seconds = sent(load, server.url, key, None if load.calm else server)
            books = kept(database, account, outcomes)
            memory = psutil.Process(server.process.pid).memory_info().rss
    report = told(load, outcomes, seconds)
    return report | {"books": dataclasses.asdict(books), "memory_mb": round(memory / 2**20)}


def sent(
    load: Load, url: str, key: str, killed: ServerProcess | None = None
) -> tuple[list[Outcome], float]:
    """Send it all, and kill a server in the middle; → what clients met, and how long it took."""
    wishes = Wishes(CALM if load.calm else FAULTY, load.requests)
    clients = [Client(url, key, load.seconds) for _ in range(load.clients)]
    threads = [threading.Thread(target=each.run, args=(wishes,)) for each in clients]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    if killed is not None:
        wishes.half.wait()
        killed.kill()
        killed.start()
    for thread in threads:
        thread.join()
    return wishes.outcomes, time.perf_counter() - began


def kept(database: Database, account: str, outcomes: list[Outcome]) -> Books:
    """What the database says, once nothing is under way any more."""
    until = time.monotonic() + _SETTLED_SECONDS
    while any(job.status in OPEN for job in jobs_of(database)) and time.monotonic() < until:
        time.sleep(0.1)
    jobs = {job.id: job for job in jobs_of(database)}
    completed = Counter(job.fields["seed"] for job in jobs.values() if job.status == COMPLETED)
    still_open = {id for id, job in jobs.items() if job.status in OPEN}
    silent = {job.id for job in jobs.values() if job.status not in (*OPEN, COMPLETED)}
    silent = {id for id in silent if not jobs[id].error}
    answered = [each for each in outcomes if each.end in ("made", "lost")]
    missing = [each for each in answered if each.end == "lost" or each.job not in jobs]
    money = Keys(database).account(account)
    return Books(
        accepted=len(jobs),
        finished=completed.total(),
        failed_and_reported=len(jobs) - completed.total() - len(still_open | silent),
        lost=len(missing) + len(still_open | silent),
        charged_twice=sum(count - 1 for count in completed.values()),
        unpaid=sum(each.end == "made" and not completed[each.seed] for each in outcomes),
        credits_left=as_credits(money.credits - money.reserved),
        credits_expected=round(BALANCE - PRICE * len(completed), 6),
    )


def jobs_of(database: Database) -> list[Job]:
    with database.reading() as session:
        return [*session.scalars(select(Job))]


def told(load: Load, outcomes: list[Outcome], seconds: float) -> dict[str, Any]:
    """What clients have met, by kind."""
    kinds: dict[str, dict[str, Any]] = {}
    for kind in sorted({each.kind for each in outcomes}):
        own = [each for each in outcomes if each.kind == kind]
        waits = sorted(each.first_byte for each in own if each.first_byte is not None)
        kinds[kind] = {
            "requests": len(own),
            "ends": dict(Counter(each.end for each in own)),
            "statuses": dict(Counter(str(each.status) for each in own if each.status)),
            "first_byte": {f"p{part}": percentile(waits, part) for part in (50, 95)},
        }
    made = sum(each.end == "made" for each in outcomes)
    return {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "load": dataclasses.asdict(load),
        "seconds": seconds,
        "takes_a_second": made / seconds,
        "kinds": kinds,
    }


def percentile(ordered: list[float], part: int) -> float | None:
    return ordered[round(part / 100 * (len(ordered) - 1))] if ordered else None


def show(report: dict[str, Any]) -> None:
    load = report["load"]
    print(
        f"{load['requests']} requests of {load['clients']} clients in {report['seconds']:.1f} s, "
        f"{report['takes_a_second']:.1f} takes a second, on {report['machine']}\n"
    )
    print("| | requests | ends | first byte, median | 95 % within |")
    print("|---|---|---|---|---|")
    for kind, found in report["kinds"].items():
        ends = ", ".join(f"{count} {end}" for end, count in sorted(found["ends"].items()))
        cells = (milliseconds(each) for each in found["first_byte"].values())
        print(f"| {kind} | {found['requests']} | {ends} | {' | '.join(cells)} |")
    if "books" in report:
        print()
        for name, value in report["books"].items():
            print(f"{name.replace('_', ' ')}: {value}")
        print(f"memory of the server: {report['memory_mb']} MB")


def milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{1000 * seconds:.0f} ms"


if __name__ == "__main__":
    main()
