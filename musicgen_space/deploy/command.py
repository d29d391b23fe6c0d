"""``musicgen-space deploy my-name/my-space``: the page as a Space."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from musicgen_space.deploy.files import write_space
from musicgen_space.deploy.hub import put_on_hub
from musicgen_space.deploy.wish import HARDWARE, ZERO_GPU, Wish
from musicgen_space.errors import InvalidRequest

__all__ = ["add_options", "deploy"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("name", metavar="OWNER/SPACE", help="such as my-name/my-space")
    parser.add_argument(
        "--hardware", default="", metavar="NAME",
        help="what it runs on (default: zero-gpu; with --update what it has): "
        f"{', '.join(HARDWARE)}",
    )  # fmt: skip
    parser.add_argument(
        "--bucket", default="", metavar="NAME",
        help="keep takes in this storage bucket, which is made if there is none",
    )  # fmt: skip
    parser.add_argument("--private", action="store_true", help="for you alone")
    parser.add_argument(
        "--update", action="store_true", help="give a Space that exists the files of this version"
    )
    parser.add_argument(
        "--write", type=Path, metavar="FOLDER",
        help="only write its files, for --hardware, to a new folder",
    )  # fmt: skip


def deploy(options: argparse.Namespace, say: Callable[[str], None]) -> None:
    """Do it; raises ``InvalidRequest``, ``DeployFailed``, and ``OSError`` of a disk."""
    wish = Wish(options.name, options.hardware, options.bucket, options.private, options.update)
    if options.write is None:
        address = put_on_hub(wish, say)
        say(f"{address} is built now, which takes some minutes.")
    elif options.write.exists():
        raise InvalidRequest("write", str(options.write), "must be a folder that is not there yet")
    else:
        write_space(options.write, wish.name, wish.flavor or ZERO_GPU)
        say(f"The files of the Space are in {options.write}.")
