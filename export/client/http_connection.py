"""HTTP connections, synchronous and for asyncio."""

import os
from collections.abc import Mapping
from typing import Any

from export.client.address import Address
from export.client.call import Call, Failure, Tls
from export.client.proxies import is_loopback, proxy_variable, through
from export.client.rest_protocol import failure
from export.errors import ExportError

_MOST_CONNECTIONS = 32
_HEADERS = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
_CHUNK = 65536
_OF_PROXIES = (403, 407, 502, 503, 504)  # statuses that a proxy sends too


class HttpConnection:
    """A pool of open connections; threads may share it.

    Args:
        address: of the server.
        headers: headers of each request.
        tls: `(ca_file, certificate_file, key_file)`, each a path or None.
        max_response_bytes: limit for the body of a response.
    """

    def __init__(self, address: Address, headers: Mapping[str, str], tls: Tls, max_response_bytes: int) -> None:
        import requests

        from export.client.watched_connections import WatchedAdapter

        self._requests = requests
        self._most = max_response_bytes
        self._base = _base(address)
        self._proxy = proxy_variable(address)
        self._session = requests.Session()
        self._session.trust_env = not is_loopback(address)
        self._session.auth = lambda request: request  # otherwise ~/.netrc replaces the token
        self._session.headers.update({**_HEADERS, **headers})
        self._session.mount(self._base, WatchedAdapter(pool_maxsize=_MOST_CONNECTIONS))
        ca, certificate, key = _existing(tls)
        # Passed per request, because REQUESTS_CA_BUNDLE overrides the setting of a session.
        self._verify = ca or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        self._session.cert = (certificate, key) if certificate and key else certificate

    def send(self, call: Call, timeout: float) -> bytes | Failure:
        """Sends a request; returns the body of the response or `Failure`."""
        from export.client.watched_connections import watching

        with watching(timeout) as watch:
            answer = self._send(call, timeout)
        if watch.is_over:  # a head that was cut looks complete
            return Failure("DEADLINE_EXCEEDED", f"no complete response within {timeout:.3g} s")
        return answer

    def _send(self, call: Call, timeout: float) -> bytes | Failure:
        method, path = call.target
        errors = self._requests.exceptions
        try:
            response = self._session.request(
                method,
                self._base + path,
                data=call.body,
                timeout=timeout,
                verify=self._verify,
                allow_redirects=False,
                stream=True,
            )
            with response:
                content = _Content(self._most)
                for chunk in response.iter_content(_CHUNK):
                    content.add(chunk)
            return _answer(response.status_code, content.bytes(), self._proxy)
        except _TooLarge as error:
            return Failure("RESOURCE_EXHAUSTED", str(error))
        except errors.SSLError as error:  # retrying does not help
            return Failure("FAILED_PRECONDITION", str(error) + through(self._proxy))
        except errors.ConnectTimeout as error:
            return Failure("UNAVAILABLE", str(error) + through(self._proxy))
        except errors.Timeout:
            return Failure("DEADLINE_EXCEEDED", f"no response within {timeout:.3g} s")
        except (errors.ConnectionError, errors.ChunkedEncodingError) as error:
            return Failure("UNAVAILABLE", str(error) + through(self._proxy))
        except errors.ContentDecodingError as error:
            return Failure("INTERNAL", f"the response cannot be unpacked: {error}")
        except (errors.RequestException, ValueError) as error:  # e.g. a proxy of an unknown kind
            return Failure("FAILED_PRECONDITION", str(error) + through(self._proxy))

    def close(self) -> None:
        """Closes the connections."""
        self._session.close()


class AsyncHttpConnection:
    """`HttpConnection` for asyncio."""

    def __init__(self, address: Address, headers: Mapping[str, str], tls: Tls, max_response_bytes: int) -> None:
        try:
            import httpx
        except ModuleNotFoundError as error:
            raise ExportError("Asynchronous calls over http need httpx: pip install httpx.") from error

        self._httpx = httpx
        self._most = max_response_bytes
        self._proxy = proxy_variable(address)
        ca, certificate, key = _existing(tls)
        verify: Any = True
        if ca or certificate:
            import ssl

            try:
                verify = ssl.create_default_context(cafile=ca)
                if certificate:
                    verify.load_cert_chain(certificate, key)
            except ssl.SSLError as error:
                names = ", ".join(f"`{path}`" for path in (ca, certificate, key) if path)
                raise ExportError(f"TLS needs PEM files; one of {names} is not a PEM file: {error}.") from error
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=_MOST_CONNECTIONS)
        reach: dict[str, Any] = {"verify": verify, "limits": limits}
        if is_loopback(address):
            reach = {"transport": httpx.AsyncHTTPTransport(**reach)}  # uses no proxy
        try:
            self._client = httpx.AsyncClient(
                base_url=_base(address), headers={**_HEADERS, **headers}, timeout=None, **reach
            )
        except (ValueError, ImportError) as error:  # a proxy of an unknown kind, or one that needs another package
            raise ExportError(f"Cannot connect to {_base(address)}: {error}{through(self._proxy)}.") from error

    async def send(self, call: Call, timeout: float) -> bytes | Failure:
        """Sends a request; returns the body of the response or `Failure`."""
        import asyncio

        method, path = call.target
        content = _Content(self._most)
        try:
            async with (
                asyncio.timeout(timeout),
                self._client.stream(method, path, content=call.body) as response,
            ):
                async for chunk in response.aiter_bytes():
                    content.add(chunk)
            return _answer(response.status_code, content.bytes(), self._proxy)
        except _TooLarge as error:
            return Failure("RESOURCE_EXHAUSTED", str(error))
        except TimeoutError:
            return Failure("DEADLINE_EXCEEDED", f"no complete response within {timeout:.3g} s")
        except self._httpx.TransportError as error:
            code = "FAILED_PRECONDITION" if _is_tls(error) else "UNAVAILABLE"  # retrying does not help with TLS errors
            return Failure(code, (str(error) or type(error).__name__) + through(self._proxy))
        except (self._httpx.HTTPError, ValueError) as error:
            return Failure("INTERNAL", f"the response cannot be read: {error}")

    async def close(self) -> None:
        """Closes the connection."""
        await self._client.aclose()


class _TooLarge(Exception):
    """The response is larger than the limit."""


class _Content:
    """The body of a response, within a limit."""

    def __init__(self, most: int) -> None:
        self._chunks: list[bytes] = []
        self._most, self._size = most, 0

    def add(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > self._most:
            raise _TooLarge(f"the response is larger than `max_response_bytes`, {self._most} bytes")
        self._chunks.append(chunk)

    def bytes(self) -> bytes:
        return b"".join(self._chunks)


def _answer(status: int, content: bytes, proxy: str | None) -> bytes | Failure:
    if status == 200:
        return content
    failed = failure(status, content)
    return Failure(failed.code, failed.message + through(proxy)) if status in _OF_PROXIES else failed


def _base(address: Address) -> str:
    return f"{address.scheme}://{address.netloc}{address.path}"


def _is_tls(error: BaseException | None) -> bool:
    """Whether TLS failed; httpx shows this only in the cause of its error."""
    import ssl

    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error is not None


def _existing(tls: Tls) -> list[str | None]:
    from pathlib import Path

    paths = [None if path is None else Path(path).expanduser() for path in tls]
    for path in paths:
        if path is not None and not path.is_file():
            raise ExportError(f"There is no file `{path}`.")
    return [None if path is None else str(path) for path in paths]
