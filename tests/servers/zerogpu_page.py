"""The page of a Space with ZeroGPU, without a card: the folder of its model, then the device API.

python -m tests.servers.zerogpu_page FOLDER http://127.0.0.1:9000
"""

from __future__ import annotations

import sys
from pathlib import Path

from musicgen_space.backends.zerogpu.backend import ZeroGpuBackend
from musicgen_space.engine.checkpoint.loader import load
from musicgen_space.serve import serve
from musicgen_space.settings import Settings
from tests.servers.zerogpu import gpu_without_card

if __name__ == "__main__":
    folder, url = sys.argv[1:]
    models = {"tiny": load(Path(folder))}
    serve(
        Settings.from_environment(),
        lambda _: {"zerogpu": ZeroGpuBackend(models, gpu_without_card(lambda: url))},
    )
