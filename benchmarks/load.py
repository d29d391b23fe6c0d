"""How the HTTP API bears many clients at once: waiting times, refusals, memory.

Each client sends one call after the other: Segmind's v1, v2 followed to its end, and one whose
sound is sent while it is made. Measured are how long each kind takes, and to the first sound; what
was refused; how much memory the server has taken by the end; and that each take that was made was
paid once. The backend hums at 100 × real time, so the server's own part shows; ``--url`` and
``--key`` take another server, of which memory and money aren't known. Run it from the project's
root::

    python -m benchmarks.load [--clients 8] [--calls 10] [--seconds 2] [--database URL]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from itertools import cycle, islice
from pathlib import Path

import httpx
import psutil

from musicgen_space.server.accounts.keys import Keys, as_credits
from musicgen_space.server.database import Database
from tests.servers.app import serving

ALONE = """
from musicgen_space.serve import serve
from musicgen_space.settings import Settings
from tests.browser.fast_page import Humming
serve(Settings.from_environment(), lambda _: {"local": Humming()}, api_only=True)
"""
MODEL = "meta-musicgen-medium"
PRICE = 0.01


class Client:
    """One of the many, with what it has met."""

    def __init__(self, url: str, key: str, seconds: float, notes: Notes) -> None:
        self._http = httpx.Client(
            base_url=url, headers={"x-api-key": key}, timeout=600, trust_env=False
        )
        self._wish = {"prompt": "jazz", "duration": seconds}
        self._notes = notes

    def run(self, calls: int) -> None:
        """So many calls, of each kind in turns."""
        with self._http:
            for call in islice(cycle((self.waits, self.polls, self.hears)), calls):
                began = time.perf_counter()
                if call():
                    self._notes.took[call.__name__].append(time.perf_counter() - began)

    def waits(self) -> bool:
        """v1."""
        return self._noted(self._http.post(f"/v1/{MODEL}", json=self._wish))

    def polls(self) -> bool:
        """v2, asked for ten times a second."""
        answer = self._http.post(f"/v2/{MODEL}", json=self._wish)
        if not self._noted(answer):
            return False
        links = answer.json()
        while (status := self._http.get(links["status_url"])).json()["status"] != "COMPLETED":
            status.raise_for_status()
            time.sleep(0.1)
        output = self._http.get(links["response_url"]).json()["output"]
        return self._http.get(output).raise_for_status().is_success

    def hears(self) -> bool:
        """Sound while it is made."""
        wish = {"input": "jazz", "audio_length": self._wish["duration"]}
        began = time.perf_counter()
        with self._http.stream("POST", "/v1/audio/generate", json=wish) as answer:
            for number, _ in enumerate(answer.iter_raw()):
                if not number:
                    self._notes.took["first sound"].append(time.perf_counter() - began)
            return self._noted(answer)

    def _noted(self, answer: httpx.Response) -> bool:
        self._notes.statuses[answer.status_code] += 1
        if answer.status_code == 429:  # as it is told to, but not for long
            time.sleep(min(1.0, float(answer.headers.get("retry-after", 1))))
        return answer.is_success


class Notes:
    """What all clients have met."""

    def __init__(self) -> None:
        self.took: defaultdict[str, list[float]] = defaultdict(list)
        self.statuses: Counter[int] = Counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--calls", type=int, default=10, help="of each client")
    parser.add_argument("--seconds", type=float, default=2, help="of music in a take")
    parser.add_argument("--database", metavar="URL", help="(default: SQLite in a new folder)")
    parser.add_argument("--url", help="of a server that runs")
    parser.add_argument("--key", default="", help="of that server")
    options = parser.parse_args()
    with ExitStack() as stack:
        if options.url:
            load(options, options.url, options.key)
            return
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = options.database or f"sqlite:///{folder}/server.db"
        database = Database(url)
        stack.callback(database.close)
        account, key = Keys(database).add("load", balance=1e6, per_minute=10_000)
        settings = {"MUSICGEN_DATABASE": url, "MUSICGEN_API_PRICE": str(PRICE)}
        command = ("-c", ALONE)
        address = stack.enter_context(serving(folder / "log", *command, path="/readyz", **settings))
        made = load(options, address, key)
        paid = (1e6 - as_credits(Keys(database).account(account).credits)) / PRICE
        print(f"takes made: {made}, paid: {paid:.0f}")


def load(options: argparse.Namespace, url: str, key: str) -> int:
    """Send it all, and print what came of it; → how many takes were made."""
    notes = Notes()
    clients = [Client(url, key, options.seconds, notes) for _ in range(options.clients)]
    threads = [threading.Thread(target=each.run, args=(options.calls,)) for each in clients]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    made = sum(len(times) for kind, times in notes.took.items() if kind != "first sound")
    print(
        f"{options.clients} clients, {made} takes in {seconds:.1f} s: {made / seconds:.1f} a second"
    )
    for kind, times in sorted(notes.took.items()):
        ordered = sorted(times)
        middle, late = statistics.median(ordered), ordered[int(0.95 * (len(ordered) - 1))]
        print(f"{kind:12} median {1000 * middle:5.0f} ms, 95% within {1000 * late:5.0f} ms")
    print("answers:", ", ".join(f"{code} × {n}" for code, n in sorted(notes.statuses.items())))
    for child in psutil.Process(os.getpid()).children():
        print(f"memory of the server: {child.memory_info().rss / 2**20:.0f} MB")
    return made


if __name__ == "__main__":
    main()
