"""Takes in the body of an HTTP request, within limits."""

import struct
import zlib

_INFLATED_BYTES = 100 * 2**20  # the original's limit
# A body that shrinks more than this is no tensor anybody meant to send; below the second size it does no harm.
_BOMB_RATIO = 200
_BOMB_BYTES = 16 * 2**20


class BodyTooLarge(Exception):
    """A body beyond the limit; the rest of it was not read."""


class Disconnected(Exception):
    """The client has gone before its request was complete."""


async def read_body(scope, receive, limit):
    """The body as it was sent.

    Args:
        scope, receive: of the ASGI request.
        limit: bytes.

    Raises:
        BodyTooLarge, Disconnected.
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


def is_gzipped(scope):
    """Whether the client says that the body is gzipped."""
    return b"gzip" in _header(scope, b"content-encoding").lower()


def gunzip(body):
    """The content of a gzipped body.

    Empty where the body is no single whole gzip member, holds more than 100 MB, or is a bomb: the original goes on
    with an empty body too, which then is no JSON.
    """
    if len(body) < 18:
        return b""
    size = struct.unpack("<I", body[-4:])[0]  # what the body claims; no more than that is inflated
    if size > _INFLATED_BYTES or (size > _BOMB_BYTES and size > _BOMB_RATIO * len(body)):
        return b""
    inflater = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        content = inflater.decompress(body, size + 1)
    except zlib.error:
        return b""
    return content if inflater.eof and len(content) == size and not inflater.unused_data else b""


def _header(scope, name):
    return next((value for key, value in scope["headers"] if key == name), b"")
