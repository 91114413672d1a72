"""HTTP connections, synchronous and for asyncio."""

from collections.abc import Mapping
from typing import Any

from export.client.address import Address
from export.client.call import Call, Failure, Tls
from export.client.rest_protocol import failure
from export.errors import ExportError

_MOST_CONNECTIONS = 32
_JSON = {"Content-Type": "application/json"}


class HttpConnection:
    """A pool of open connections; threads may share it.

    Args:
        address: of the server.
        headers: headers of each request.
        tls: `(ca_file, certificate_file, key_file)`, each a path or None.
    """

    def __init__(self, address: Address, headers: Mapping[str, str], tls: Tls) -> None:
        import requests
        from requests.adapters import HTTPAdapter

        self._requests = requests
        self._base = _base(address)
        self._session = requests.Session()
        self._session.headers.update({**_JSON, **headers})
        self._session.mount(self._base, HTTPAdapter(pool_maxsize=_MOST_CONNECTIONS))
        ca, certificate, key = _existing(tls)
        self._verify = ca  # passed per request, because REQUESTS_CA_BUNDLE overrides the setting of a session
        self._session.cert = (certificate, key) if certificate and key else certificate

    def send(self, call: Call, timeout: float) -> bytes | Failure:
        """Sends a request; returns the body of the response or `Failure`."""
        method, path = call.target
        errors = self._requests.exceptions
        try:
            response = self._session.request(
                method, self._base + path, data=call.body, timeout=timeout, verify=self._verify, allow_redirects=False
            )
        except errors.SSLError as error:  # retrying does not help
            return Failure("FAILED_PRECONDITION", str(error))
        except errors.ConnectTimeout as error:
            return Failure("UNAVAILABLE", str(error))
        except errors.Timeout:
            return Failure("DEADLINE_EXCEEDED", f"no response within {timeout:.3g} s")
        except (errors.ConnectionError, errors.ChunkedEncodingError) as error:
            return Failure("UNAVAILABLE", str(error))
        return response.content if response.status_code == 200 else failure(response.status_code, response.content)

    def close(self) -> None:
        """Closes the connections."""
        self._session.close()


class AsyncHttpConnection:
    """`HttpConnection` for asyncio."""

    def __init__(self, address: Address, headers: Mapping[str, str], tls: Tls) -> None:
        try:
            import httpx
        except ModuleNotFoundError as error:
            raise ExportError("Asynchronous calls over http need httpx: pip install httpx.") from error

        self._httpx = httpx
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
        self._client = httpx.AsyncClient(
            base_url=_base(address), headers={**_JSON, **headers}, verify=verify, limits=limits, timeout=None
        )

    async def send(self, call: Call, timeout: float) -> bytes | Failure:
        """Sends a request; returns the body of the response or `Failure`."""
        import asyncio

        method, path = call.target
        try:
            async with asyncio.timeout(timeout):
                response = await self._client.request(method, path, content=call.body)
        except TimeoutError:
            return Failure("DEADLINE_EXCEEDED", f"no response within {timeout:.3g} s")
        except self._httpx.TransportError as error:
            code = "FAILED_PRECONDITION" if _is_tls(error) else "UNAVAILABLE"  # retrying does not help with TLS errors
            return Failure(code, str(error) or type(error).__name__)
        return response.content if response.status_code == 200 else failure(response.status_code, response.content)

    async def close(self) -> None:
        """Closes the connection."""
        await self._client.aclose()


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
