"""An API server in a process of its own, to be killed: python -m tests.server.humming PORT GO.

Until the file GO is there, ``#hold`` in a prompt holds a job.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from musicgen_space.process.termination import catch_termination
from musicgen_space.server.alone import serve_alone
from musicgen_space.server.service import Service
from musicgen_space.settings import Settings
from tests.server.fixtures import PRICE, Hum

if __name__ == "__main__":
    port, go = sys.argv[1:]
    database = os.environ["MUSICGEN_DATABASE"]
    settings = Settings(database=database, api_price=PRICE, port=int(port), at_once=1)
    studio = Hum()

    def watch() -> None:
        while not Path(go).exists():
            time.sleep(0.02)
        studio.go.set()

    threading.Thread(target=watch, daemon=True).start()
    service = Service(settings, studio, beat=0.2, lease=3)
    service.start()
    with catch_termination() as told, serve_alone(service):
        print("ready", flush=True)
        told.awaited()
