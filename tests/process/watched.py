"""Runs a module or a script as a user would, and writes down whom it asks and what it writes.

    python -m tests.process.watched LOG MODULE|SCRIPT.py [ARGUMENT …]

Python itself reports what Python code does. Where there is strace, it reports what libraries
in other languages send, and to whom.
"""

from __future__ import annotations

import os
import re
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

_ASKING = {
    "socket.getaddrinfo": lambda host, *_: host,
    "socket.gethostbyname": lambda host: host,
    "socket.connect": lambda _, address: address[0] if isinstance(address, tuple) else None,
    "socket.sendto": lambda _, address: address[0] if isinstance(address, tuple) else None,
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_ADDRESS = re.compile(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"')
_HERE = {None, "localhost", "127.0.0.1", "0.0.0.0", "::1", "::"}


def asked(log: Path) -> set[str]:
    """Which hosts were asked for, or sent to, but for this machine itself."""
    hosts = {line.removeprefix("asked ") for line in _lines(log) if line.startswith("asked ")}
    for line in _lines(_of_strace(log)):
        hosts.update(address for found in _ADDRESS.findall(line) for address in found if address)
    return {host for host in hosts if host not in _HERE and not host.startswith("127.")}


def written(log: Path) -> set[Path]:
    """Which files Python opened to write to them."""
    found = (line.removeprefix("wrote ") for line in _lines(log) if line.startswith("wrote "))
    return {Path(path) for path in found}


def _lines(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8").splitlines() if log.is_file() else []


def _of_strace(log: Path) -> Path:
    return log.with_suffix(".strace")


def _write_down(log: Path) -> None:
    """Report from now on, in ``log``."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _ASKING:
            host = _ASKING[event](*arguments)
            if host is not None:
                os.write(file, f"asked {_text(host)}\n".encode())
        elif event == "open" and arguments[2] & _WRITING and not isinstance(arguments[0], int):
            os.write(file, f"wrote {os.path.abspath(_text(arguments[0]))}\n".encode())

    sys.addaudithook(heard)


def _text(name: Any) -> str:
    return os.fsdecode(name) if isinstance(name, bytes | os.PathLike) else str(name)


def _traced(log: Path) -> None:
    """Begin again under strace, if there is one; it keeps the number of this process."""
    output = _of_strace(log)
    if (strace := shutil.which("strace")) and not output.exists():
        output.touch()
        calls = "trace=connect,sendto,sendmsg,sendmmsg"
        options = ["-D", "-f", "-qq", "--seccomp-bpf", "-e", calls, "-e", "signal=none"]
        again = [sys.executable, "-m", "tests.process.watched", *sys.argv[1:]]
        os.execv(strace, [strace, *options, "-o", str(output), *again])


if __name__ == "__main__":
    log, *command = sys.argv[1:]
    _traced(Path(log))
    _write_down(Path(log))
    sys.argv = command
    if command[0].endswith(".py"):
        runpy.run_path(command[0], run_name="__main__")
    else:
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
