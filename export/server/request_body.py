"""Reads the body of an HTTP request, within limits."""

import struct
import zlib

from export.server.asgi import Receive, Scope

_INFLATED_BYTES = 100 * 2**20  # the limit of TensorFlow Serving
# A body with a higher compression ratio is not a sensible tensor; below the second size it is harmless.
_BOMB_RATIO = 200
_BOMB_BYTES = 16 * 2**20


class BodyTooLarge(Exception):
    """The body is larger than the limit; the rest of it was not read."""


class Disconnected(Exception):
    """The client disconnected before its request was complete."""


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The body as it was sent.

    Args:
        scope, receive: the ASGI request.
        limit: in bytes.

    Raises:
        BodyTooLarge: the body is larger than the limit.
        Disconnected: the client disconnected.
    """
    announced = _header(scope, b"content-length")
    if announced.isdigit() and int(announced) > limit:
        raise BodyTooLarge
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunk, more = message.get("body", b""), message.get("more_body", False)
        size += len(chunk)
        if size > limit:
            raise BodyTooLarge
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def is_gzipped(scope: Scope) -> bool:
    """Whether the headers declare a gzipped body."""
    return b"gzip" in _header(scope, b"content-encoding").lower()


def gunzip(body: bytes) -> bytes:
    """The content of a gzipped body.

    Empty if the body is not exactly one gzip member, unpacks to more than 100 MB, or is a zip bomb. TensorFlow Serving
    also continues with an empty body, which is then invalid JSON.
    """
    if len(body) < 18:
        return b""
    size = struct.unpack("<I", body[-4:])[0]  # the declared size; we never unpack more
    if size > _INFLATED_BYTES or (size > _BOMB_BYTES and size > _BOMB_RATIO * len(body)):
        return b""
    inflater = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        content = inflater.decompress(body, size + 1)
    except zlib.error:
        return b""
    return content if inflater.eof and len(content) == size and not inflater.unused_data else b""


def _header(scope: Scope, name: bytes) -> bytes:
    return next((value for key, value in scope["headers"] if key == name), b"")
