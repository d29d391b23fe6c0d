"""``python -m musicgen_space``, and the console command ``musicgen-space``."""

from __future__ import annotations

import sys

from musicgen_space.process.ending import end_quietly

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; → the exit code."""
    end_quietly()  # before the other imports, which take a second
    from musicgen_space import cli

    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
