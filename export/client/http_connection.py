"""HTTP connections, for threads and for asyncio."""

from export.client.call import Failure
from export.client.rest_protocol import failure
from export.errors import ExportError

_MOST_CONNECTIONS = 32
_JSON = {"Content-Type": "application/json"}


class HttpConnection:
    """Connections that are kept open; safe to share among threads.

    Args:
        address: `Address`.
        headers: dict of headers for each call.
        tls: `(ca_file, certificate_file, key_file)`, each None or a path.
    """

    def __init__(self, address, headers, tls):
        import requests
        from requests.adapters import HTTPAdapter

        self._requests = requests
        self._base = _base(address)
        self._session = requests.Session()
        self._session.headers.update({**_JSON, **headers})
        self._session.mount(self._base, HTTPAdapter(pool_maxsize=_MOST_CONNECTIONS))
        ca, certificate, key = _existing(tls)
        self._verify = ca  # by request: a session's own would give way to REQUESTS_CA_BUNDLE
        self._session.cert = (certificate, key) if certificate and key else certificate

    def send(self, call, timeout):
        """The answer's body, or `Failure`."""
        method, path = call.target
        errors = self._requests.exceptions
        try:
            answer = self._session.request(
                method, self._base + path, data=call.body, timeout=timeout, verify=self._verify, allow_redirects=False
            )
        except errors.SSLError as error:  # will not mend itself
            return Failure("FAILED_PRECONDITION", str(error))
        except errors.ConnectTimeout as error:
            return Failure("UNAVAILABLE", str(error))
        except errors.Timeout:
            return Failure("DEADLINE_EXCEEDED", f"no answer within {timeout:.3g} s")
        except (errors.ConnectionError, errors.ChunkedEncodingError) as error:
            return Failure("UNAVAILABLE", str(error))
        return answer.content if answer.status_code == 200 else failure(answer.status_code, answer.content)

    def close(self):
        self._session.close()


class AsyncHttpConnection:
    """`HttpConnection` for one event loop."""

    def __init__(self, address, headers, tls):
        try:
            import httpx
        except ModuleNotFoundError as error:
            raise ExportError("Asynchronous calls over http need httpx: pip install httpx.") from error

        self._httpx = httpx
        ca, certificate, key = _existing(tls)
        verify = True
        if ca or certificate:
            import ssl

            try:
                verify = ssl.create_default_context(cafile=ca)
                if certificate:
                    verify.load_cert_chain(certificate, key)
            except ssl.SSLError as error:
                names = ", ".join(f"`{path}`" for path in (ca, certificate, key) if path)
                raise ExportError(f"TLS takes only PEM files; of {names} one is none: {error}.") from error
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=_MOST_CONNECTIONS)
        self._client = httpx.AsyncClient(
            base_url=_base(address), headers={**_JSON, **headers}, verify=verify, limits=limits, timeout=None
        )

    async def send(self, call, timeout):
        """The answer's body, or `Failure`."""
        import asyncio

        method, path = call.target
        try:
            async with asyncio.timeout(timeout):
                answer = await self._client.request(method, path, content=call.body)
        except TimeoutError:
            return Failure("DEADLINE_EXCEEDED", f"no answer within {timeout:.3g} s")
        except self._httpx.TransportError as error:
            code = "FAILED_PRECONDITION" if _is_tls(error) else "UNAVAILABLE"  # the former will not mend itself
            return Failure(code, str(error) or type(error).__name__)
        return answer.content if answer.status_code == 200 else failure(answer.status_code, answer.content)

    async def close(self):
        await self._client.aclose()


def _base(address):
    return f"{address.scheme}://{address.netloc}{address.path}"


def _is_tls(error):
    """Whether it is TLS that failed, which httpx tells only by what it raised its own error from."""
    import ssl

    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error is not None


def _existing(tls):
    from pathlib import Path

    paths = [None if path is None else Path(path).expanduser() for path in tls]
    for path in paths:
        if path is not None and not path.is_file():
            raise ExportError(f"There is no file `{path}`.")
    return [path and str(path) for path in paths]
