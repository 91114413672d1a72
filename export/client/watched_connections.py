"""HTTP connections of requests whose time limit covers the whole exchange, not each packet."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_current = threading.local()  # `watch`: the `Watch` of the request that this thread sends


class Watch:
    """Cuts the connection of one request when its time is over.

    Attributes:
        is_over: whether the time is over.
    """

    def __init__(self) -> None:
        self.is_over = False
        self._lock = threading.Lock()
        self._handle: socket.socket | None = None

    def use(self, handle: socket.socket) -> None:
        """Cuts this connection from now on; at once if the time is over."""
        with self._lock:
            self._handle = handle
            if self.is_over:
                _cut(handle)

    def end(self) -> None:
        """The time is over."""
        with self._lock:
            self.is_over = True
            if self._handle is not None:
                _cut(self._handle)


@contextlib.contextmanager
def watching(seconds: float) -> Iterator[Watch]:
    """Inside, requests of this thread are cut after some seconds, however slowly the server sends."""
    watch = Watch()
    timer = threading.Timer(seconds, watch.end)
    timer.daemon = True
    _current.watch = watch
    timer.start()
    try:
        yield watch
    finally:
        _current.watch = None
        timer.cancel()


class WatchedAdapter(HTTPAdapter):
    """`HTTPAdapter` whose connections `watching` can cut."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Creates the pools."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """The pools behind a proxy."""
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


class _Watched:
    _handle: socket.socket | None = None  # shares the connection; remains valid when TLS takes over the socket

    def _new_conn(self) -> socket.socket:
        connection = super()._new_conn()  # type: ignore[misc]
        self._handle = socket.socket(fileno=os.dup(connection.fileno()))
        self._register()
        return connection

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._register()
        super().request(*args, **kwargs)  # type: ignore[misc]

    def close(self) -> None:
        super().close()  # type: ignore[misc]
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def _register(self) -> None:
        watch = getattr(_current, "watch", None)
        if watch is not None and self._handle is not None:
            watch.use(self._handle)


class _Connection(_Watched, HTTPConnection):
    pass


class _SecureConnection(_Watched, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS = {"http": _Pool, "https": _SecurePool}


def _cut(handle: socket.socket) -> None:
    with contextlib.suppress(OSError):
        handle.shutdown(socket.SHUT_RDWR)
