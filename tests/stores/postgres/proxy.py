"""A proxy in front of a server, which cuts connections when it is told to."""

from __future__ import annotations

import contextlib
import selectors
import socket
import tempfile
import threading
from pathlib import Path


class Proxy:
    """Forwards bytes both ways.

    ``cut`` says which statement is next to lose its connection, and whether the server gets it.
    """

    def __init__(self, target: Path) -> None:
        self._target = str(target)
        self._folder = tempfile.TemporaryDirectory(prefix="gorkflow-proxy-")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{self._folder.name}/.s.PGSQL.5432")
        self._listener.listen()
        self._cut: tuple[bytes, bool] | None = None
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, **options: object) -> str:
        named = "".join(f"&{name}={value}" for name, value in options.items())
        return f"postgresql://postgres@/postgres?host={self._folder.name}{named}"

    def cut(self, statement: bytes, *, arrives: bool) -> None:
        self._cut = statement, arrives

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        with client, server, selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
            server.connect(self._target)
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in selector.select():
                    data = key.fileobj.recv(65536)
                    if not data:
                        return
                    cut = self._cut
                    if key.fileobj is client and cut is not None and cut[0] in data:
                        self._cut = None
                        self.cuts += 1
                        if cut[1]:
                            server.sendall(data)
                            server.recv(65536)  # so it was done, and nobody hears of it
                        return
                    key.data.sendall(data)

    def close(self) -> None:
        self._listener.close()
        self._folder.cleanup()
