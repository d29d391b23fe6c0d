"""Runs what somebody wrote for Spaces, with the hub and its Spaces on this machine.

``gr.load`` asks huggingface.co itself, whatever HF_ENDPOINT says, and fetches files only from
``*.hf.space``.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

import httpx

_get, _getaddrinfo = httpx.get, socket.getaddrinfo


def get(url: str, **options: Any) -> httpx.Response:
    return _get(url.replace("https://huggingface.co", os.environ["HF_ENDPOINT"]), **options)


def getaddrinfo(host: Any, *given: Any, **options: Any) -> Any:
    space = str(host).endswith(".hf.space")
    return _getaddrinfo("127.0.0.1" if space else host, *given, **options)


if __name__ == "__main__":
    httpx.get, socket.getaddrinfo = get, getaddrinfo  # type: ignore[assignment]
    exec(sys.argv[1], {"__name__": "__main__"})
