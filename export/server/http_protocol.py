"""uvicorn's HTTP protocol, with the limits that it leaves out."""

import http
import socket

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from export.server.json_writer import write_error

_LOWEST_RATE = 1024  # bytes a second that a client must send on average


class HttpProtocol(HttpToolsProtocol):
    """One connection. Requests that come too slowly or with too long headers end it.

    Args:
        limits: `HttpServer`: its `max_header_bytes`, `read_timeout_s`, `is_stopping`.
        args, kwargs: of uvicorn.

    Attributes:
        is_new: whether no request has come yet.
    """

    def __init__(self, limits, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.is_new = True
        self._limits = limits
        self._header_bytes = 0
        self._refusal = None
        self._awaited_since = self.loop.time()  # None while no request is being received
        self._received = 0
        self._pace_check = None

    def connection_made(self, transport):
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
            # An answer is two writes; without this the second may wait 40 ms for the client's word on the first.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._check_pace()

    def connection_lost(self, exc):
        if self._pace_check:
            self._pace_check.cancel()
        super().connection_lost(exc)

    def data_received(self, data):
        if self.transport.is_closing():
            return
        self._received += len(data)
        super().data_received(data)

    def on_message_begin(self):
        super().on_message_begin()
        self._header_bytes = 0
        self._awaited_since = self.loop.time()
        self._received = 0

    def on_url(self, url):
        super().on_url(url)
        self._count_header(len(url), http.HTTPStatus.REQUEST_URI_TOO_LONG)

    def on_header(self, name, value):
        super().on_header(name, value)
        self._count_header(len(name) + len(value) + 4, http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_headers_complete(self):
        super().on_headers_complete()
        self.is_new = False
        if self._limits.is_stopping:
            self.cycle.keep_alive = False

    def on_message_complete(self):
        super().on_message_complete()
        self._awaited_since = None

    def send_400_response(self, msg):
        """Answers what is no HTTP, in JSON as everything else."""
        status = self._refusal or http.HTTPStatus.BAD_REQUEST
        body = write_error(status.phrase if self._refusal else msg)
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
            % (status, status.phrase.encode(), len(body), body)
        )
        self.transport.close()

    def _count_header(self, size, status):
        self._header_bytes += size
        if self._header_bytes > self._limits.max_header_bytes:
            self._refusal = status
            raise httptools.HttpParserError(status.phrase)

    def _check_pace(self):
        timeout = self._limits.read_timeout_s
        if self._awaited_since is not None and not self.flow.read_paused:
            if self.loop.time() - self._awaited_since > timeout + self._received / _LOWEST_RATE:
                self.transport.close()
                return
        self._pace_check = self.loop.call_later(min(timeout / 2, 5), self._check_pace)
