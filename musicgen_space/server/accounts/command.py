"""``musicgen-space keys``: who may use the API of this machine."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from musicgen_space.server.accounts.keys import PER_MINUTE, SCOPES, Keys, as_credits
from musicgen_space.server.database import Account, Database
from musicgen_space.settings import Settings

__all__ = ["add_options", "run"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The commands and their options."""
    commands = parser.add_subparsers(dest="command", required=True, metavar="add|list|revoke|grant")
    add = commands.add_parser("add", help="make a key, and show it, once")
    add.add_argument("name", metavar="NAME", help="whose it is, for the list")
    add.add_argument(
        "--credits", type=float, default=0.0, metavar="N", help="what it can spend (default: 0)"
    )
    add.add_argument(
        "--scope", action="append", choices=[*SCOPES], metavar="SCOPE",
        help="; ".join(f"{name}: {about}" for name, about in SCOPES.items())
        + " (default: music); may be given twice",
    )  # fmt: skip
    add.add_argument(
        "--rate", type=int, default=int(PER_MINUTE.default), metavar="N",
        help=f"jobs a minute: {PER_MINUTE.range} (default: %(default)s)",
    )  # fmt: skip
    commands.add_parser("list", help="list the keys, without showing them")
    revoke = commands.add_parser("revoke", help="end a key")
    revoke.add_argument("id", metavar="ID", help="as it is in the list")
    grant = commands.add_parser("grant", help="give a key credits")
    grant.add_argument("id", metavar="ID", help="as it is in the list")
    grant.add_argument("credits", type=float, metavar="N", help="how many; below 0 takes some")


def run(options: argparse.Namespace, settings: Settings, say: Callable[[str], None]) -> None:
    """Do what ``options`` say; raises ``InvalidRequest`` and ``DatabaseUnavailable``."""
    database = Database(settings.database or "")
    try:
        _run(options, Keys(database), say)
    finally:
        database.close()


def _run(options: argparse.Namespace, keys: Keys, say: Callable[[str], None]) -> None:
    if options.command == "add":
        id, key = keys.add(options.name, options.scope, options.credits, options.rate)
        say(key)
        say(f"Its id is {id}. The key isn't shown again: only a digest of it is kept.")
    elif options.command == "revoke":
        keys.revoke(options.id)
        say(f"{options.id} is revoked.")
    elif options.command == "grant":
        say(f"{options.id} has {keys.grant(options.id, options.credits):g} credits.")
    else:
        for account in keys.all():
            say(_line(account))


def _line(account: Account) -> str:
    state = "revoked" if account.revoked else f"{as_credits(account.available):g} credits"
    created = time.strftime("%Y-%m-%d", time.gmtime(account.created))
    return (
        f"{account.id}  {account.name:24} {state:18} {account.per_minute}/min  "
        f"{account.scopes:14} {created}"
    )
