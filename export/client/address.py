"""The URL of a server."""

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from export.errors import ExportError

_PORTS = {"grpc": 8500, "grpcs": 8500, "http": 8501, "https": 443}


class Address(NamedTuple):
    """The address of a server.

    Attributes:
        scheme: `grpc`, `grpcs`, `http` or `https`.
        host: host name or IP address; IPv6 addresses in brackets.
        port: port of the server.
        path: prefix before `/v1` over REST, if a gateway adds one; else empty.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def is_grpc(self) -> bool:
        """Whether the server is called over gRPC, not REST."""
        return self.scheme.startswith("grpc")

    @property
    def is_secure(self) -> bool:
        """Whether the connection uses TLS."""
        return self.scheme.endswith("s")

    @property
    def netloc(self) -> str:
        """`HOST:PORT`."""
        return f"{self.host}:{self.port}"


def parse_address(url: str) -> Address:
    """Parses a URL. The default ports are 8500 for gRPC, 8501 for http and 443 for https.

    Raises:
        ExportError: the URL is invalid.
    """
    hint = f"A server's URL is grpc://HOST:PORT, grpcs://…, http://… or https://…; got {url!r}."
    try:
        parts = urlsplit(url)
        port = parts.port
        hostname = parts.hostname or ""
        hostname.encode("idna")  # fails for empty or too long labels
    except ValueError as error:
        raise ExportError(f"{hint} ({error})") from error
    named = re.fullmatch(r"[\w.-]+|[0-9a-f]*:[0-9a-f:.]*(%[\w.-]+)?", hostname)
    if parts.scheme not in _PORTS or not named or parts.query or parts.fragment or parts.username:
        raise ExportError(hint)
    if parts.scheme.startswith("grpc") and parts.path.strip("/"):
        raise ExportError(f"{hint} gRPC has no path.")
    host = f"[{hostname}]" if ":" in hostname else hostname
    return Address(parts.scheme, host, port or _PORTS[parts.scheme], parts.path.rstrip("/"))
