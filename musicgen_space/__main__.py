"""``python -m musicgen_space``, and the console command ``musicgen-space``."""

from __future__ import annotations

from typing import NoReturn

from musicgen_space.process.termination import exit_now, exit_on_signals

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line, and exit with its code."""
    exit_on_signals()  # before the other imports, which take a second
    from musicgen_space import cli

    exit_now(cli.main(arguments))


if __name__ == "__main__":
    main()
