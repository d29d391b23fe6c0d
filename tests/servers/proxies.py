"""Proxies on loopback: one for HTTP that says what it is told to, one for SOCKS 5 that works."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

REFUSED = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"

_VERSION, _CONNECT, _BY_NAME = 5, 1, 3  # RFC 1928
_NO_PASSWORD, _DONE, _NOT_ALLOWED = 0, 0, 2
_NOWHERE = bytes([0, 1, 0, 0, 0, 0, 0, 0])  # the address that an answer has to name


class Proxy(socketserver.ThreadingTCPServer):
    """Gives everybody the same ``answer`` and remembers the first line of what was asked."""

    daemon_threads = True
    answer = b""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.asked: list[bytes] = []


class Answering(socketserver.BaseRequestHandler):
    server: Proxy

    def handle(self) -> None:
        self.server.asked.append(self.request.recv(65536).split(b" HTTP/")[0])
        self.request.sendall(self.server.answer)


class Socks(socketserver.ThreadingTCPServer):
    """Leads to ``port`` of this machine, whatever name is asked for, or refuses without one."""

    daemon_threads = True
    port: int | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Leading)
        self.asked: list[str] = []


class Leading(socketserver.StreamRequestHandler):
    server: Socks

    def handle(self) -> None:
        _, methods = self.rfile.read(2)
        self.rfile.read(methods)
        self.request.sendall(bytes([_VERSION, _NO_PASSWORD]))
        _, command, _, kind = self.rfile.read(4)
        assert (command, kind) == (_CONNECT, _BY_NAME)
        name, port = self.rfile.read(self.rfile.read(1)[0]), self.rfile.read(2)
        self.server.asked.append(f"{name.decode()}:{int.from_bytes(port)}")
        if self.server.port is None:
            self.request.sendall(bytes([_VERSION, _NOT_ALLOWED]) + _NOWHERE)
            return
        with socket.create_connection(("127.0.0.1", self.server.port)) as onward:
            self.request.sendall(bytes([_VERSION, _DONE]) + _NOWHERE)
            back = threading.Thread(target=_pass, args=(onward, self.request), daemon=True)
            back.start()
            _pass(self.request, onward)
            back.join()


def _pass(source: socket.socket, target: socket.socket) -> None:
    """Pass everything on, and the end of it."""
    while data := source.recv(65536):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)


Server = TypeVar("Server", Proxy, Socks)


@contextmanager
def serving_proxy(server: Server) -> Iterator[Server]:
    """Run ``server`` in a thread."""
    with server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield server
        server.shutdown()
