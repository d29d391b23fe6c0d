"""The page, as ``musicgen-space serve`` has it: what a Space runs, and ``make demo``."""

from __future__ import annotations

import sys

from musicgen_space.__main__ import main

if __name__ == "__main__":
    main(["serve", *sys.argv[1:]])
