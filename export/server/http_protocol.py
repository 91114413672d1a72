"""The HTTP protocol of uvicorn, with limits on headers and transfer rate."""

import asyncio
import http
import socket
from typing import Any, Protocol

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from export.server.json_writer import write_error

_LOWEST_RATE = 1024  # bytes per second that a client must send on average


class Limits(Protocol):
    """The limits that a connection reads; see `HttpServer`."""

    max_header_bytes: int
    read_timeout_s: float
    is_stopping: bool


class HttpProtocol(HttpToolsProtocol):
    """One connection. It is closed if a request arrives too slowly or has too long headers.

    Args:
        limits: the `HttpServer`.
        args, kwargs: arguments of the protocol of uvicorn.

    Attributes:
        is_new: True until the first request has arrived.
    """

    def __init__(self, limits: Limits, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.is_new = True
        self._limits = limits
        self._header_bytes = 0
        self._refusal: http.HTTPStatus | None = None
        self._awaited_since: float | None = self.loop.time()  # None while no request is being received
        self._received = 0
        self._pace_check: asyncio.TimerHandle | None = None
        self._without_progress = 0  # bytes since the last head, part of a body or end of a request was complete

    def connection_made(  # type: ignore[override]  # as uvicorn declares it
        self, transport: asyncio.Transport
    ) -> None:
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
            # A response is two writes. Without TCP_NODELAY the second may wait 40 ms for the ACK of the first.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._check_pace()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._pace_check:
            self._pace_check.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._received += len(data)
        self._without_progress += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._read_as_without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self.send_400_response("Invalid HTTP request received.")
        else:
            self._unset_keepalive_if_required()
            if self._without_progress > self._limits.max_header_bytes:  # a header or a trailer that does not end
                self._refusal = http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
                self.send_400_response(self._refusal.phrase)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._header_bytes = 0
        self._awaited_since = self.loop.time()
        self._received = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count_header(len(url), http.HTTPStatus.REQUEST_URI_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count_header(len(name) + len(value) + 4, http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_headers_complete(self) -> None:
        self._without_progress = 0
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise httptools.HttpParserError("CONNECT is for proxies")
            return
        super().on_headers_complete()
        self.is_new = False
        if self._limits.is_stopping:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._without_progress = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._without_progress = 0
        if self.parser.should_upgrade():  # only its head has been read
            return
        super().on_message_complete()
        self._awaited_since = None

    def send_400_response(self, msg: str) -> None:
        """Responds to invalid HTTP with a JSON error, like all other errors."""
        status = self._refusal or http.HTTPStatus.BAD_REQUEST
        body = write_error(status.phrase if self._refusal else msg)
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
            % (status, status.phrase.encode(), len(body), body)
        )
        self.transport.close()

    def _read_as_without_upgrade(self, rest: bytes) -> None:
        """Reads a request that offers another protocol as if it did not, which HTTP allows (RFC 9110, section 7.8).

        The parser takes everything after such a head for the other protocol. So its body would be lost, or be read as
        the next request.

        Args:
            rest: what was received after the head.
        """
        head = b"%s %s HTTP/%s\r\n" % (
            self.parser.get_method(),
            self.url,
            self.parser.get_http_version().encode(),
        )
        for name, value in self.headers:
            if name == b"connection":
                kept = [token for token in value.split(b",") if token.strip().lower() != b"upgrade"]
                value = b",".join(kept)
            if name != b"upgrade":
                head += name + b": " + value + b"\r\n"
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # like uvicorn
        self.data_received(head + b"\r\n" + rest)

    def _count_header(self, size: int, status: http.HTTPStatus) -> None:
        self._header_bytes += size
        if self._header_bytes > self._limits.max_header_bytes:
            self._refusal = status
            raise httptools.HttpParserError(status.phrase)

    def _check_pace(self) -> None:
        timeout = self._limits.read_timeout_s
        if self._awaited_since is not None and not self.flow.read_paused:
            if self.loop.time() - self._awaited_since > timeout + self._received / _LOWEST_RATE:
                self.transport.close()
                return
        self._pace_check = self.loop.call_later(min(timeout / 2, 5), self._check_pace)
