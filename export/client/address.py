"""Where a server is, and how to speak with it."""

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from export.errors import ExportError

_PORTS = {"grpc": 8500, "grpcs": 8500, "http": 8501, "https": 443}


class Address(NamedTuple):
    """A server.

    Attributes:
        scheme: `grpc`, `grpcs`, `http` or `https`.
        host: name or number, an IPv6 one in brackets.
        port: of that host.
        path: before `/v1` over REST, where a gateway adds one; else empty.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def is_grpc(self):
        return self.scheme.startswith("grpc")

    @property
    def is_secure(self):
        return self.scheme.endswith("s")

    @property
    def netloc(self):
        return f"{self.host}:{self.port}"


def parse_address(url):
    """`Address` of a URL; the port may be left out: 8500 for gRPC, 8501 for http, 443 for https.

    Raises:
        ExportError: it is no such URL.
    """
    hint = f"A server's URL is grpc://HOST:PORT, grpcs://…, http://… or https://…; got {url!r}."
    try:
        parts = urlsplit(url)
        port = parts.port
        (parts.hostname or "").encode("idna")  # a name with an empty or endless part
    except ValueError as error:
        raise ExportError(f"{hint} ({error})") from error
    named = re.fullmatch(r"[\w.-]+|[0-9a-f]*:[0-9a-f:.]*(%[\w.-]+)?", parts.hostname or "")
    if parts.scheme not in _PORTS or not named or parts.query or parts.fragment or parts.username:
        raise ExportError(hint)
    if parts.scheme.startswith("grpc") and parts.path.strip("/"):
        raise ExportError(f"{hint} gRPC has no path.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Address(parts.scheme, host, port or _PORTS[parts.scheme], parts.path.rstrip("/"))
