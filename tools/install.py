"""Installs a requirements file into an environment: ``python -m tools.install .venv FILE``.

With uv, which takes seconds where pip takes minutes. Pip gets uv where there is none, and does
all itself where uv fails. Where no GPU is found, uv also gets torch without the libraries for one.

uv reads no pip configuration, so it is told: packages come from where pip would get them.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

__all__ = ["attempts", "uv_variables"]

# A setting of pip's → the variable of uv's for the same, and what stands between several values.
_SAME = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "no-index": ("UV_NO_INDEX", " "),
    "constraint": ("UV_CONSTRAINT", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
}
# Whoever set one of these has chosen where torch comes from, too.
_SOURCES = {"UV_DEFAULT_INDEX", "UV_INDEX", "UV_FIND_LINKS", "UV_NO_INDEX", "UV_TORCH_BACKEND"}


def main(environment: Path, requirements: Path) -> int:
    """Install ``requirements``; → the exit code of the last attempt."""
    python = environment / "bin" / "python"
    variables = uv_variables(_output(python, "-m", "pip", "config", "list"))
    code = 1
    for command, more in attempts(_uv(python), python, requirements, {**variables, **os.environ}):
        code = subprocess.run(command, env={**variables, **os.environ, **more}).returncode
        if code == 0:
            break
        print(f"{Path(command[0]).name} could not install {requirements}.", file=sys.stderr)
    return code


def attempts(
    uv: str | None, python: Path, requirements: Path, variables: Mapping[str, str]
) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Commands to try in turn until one succeeds, with variables of their own."""
    if uv is not None:
        command = [uv, "pip", "install", "-q", "--python", str(python), "-r", str(requirements)]
        if not _SOURCES & variables.keys():
            yield command, {"UV_TORCH_BACKEND": "auto"}
        yield command, {}
    yield [str(python), "-m", "pip", "install", "-q", "-r", str(requirements)], {}


def uv_variables(configuration: str) -> dict[str, str]:
    """The variables of uv for what ``pip config list`` prints."""
    lines = [line.partition("=") for line in configuration.splitlines()]
    settings: dict[str, str] = {}
    for section in ("global.", "install.", ":env:."):  # a later one counts more
        for name, _, value in lines:
            if name.startswith(section):
                settings[name.removeprefix(section)] = ast.literal_eval(value)
    variables = {
        variable: between.join(settings[name].split())
        for name, (variable, between) in _SAME.items()
        if settings.get(name)
    }
    if "UV_INDEX" in variables:  # uv stops at the first index that has a package, pip doesn't
        variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return variables


def _uv(python: Path) -> str | None:
    """The path of uv; None where it can't be had."""
    own = python.with_name("uv")
    if not own.exists() and (found := shutil.which("uv")):
        return found
    if not own.exists():
        subprocess.run([python, "-m", "pip", "install", "-q", "uv>=0.6.10,<1"], check=False)
    return str(own) if own.exists() else None


def _output(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
