"""A client between proxies and hostile servers: what it does not use, and what it survives."""

import asyncio
import contextlib
import json
import socket
import threading
import time

import grpc
import pytest
from test_client_failures import FailingGrpc, FailingHttp

from export.client import AsyncClient, CallError, Client
from export.client.address import parse_address
from export.client.messages import PredictResponse, TensorProto
from export.client.proxies import is_loopback, proxy_variable
from export.client.tensors import from_proto
from export.errors import ExportError

VARIABLES = [f"{scheme}_proxy" for scheme in ("http", "https", "grpc", "all")]


@pytest.fixture
def proxied(monkeypatch):
    """Every variable names a proxy that is not there."""
    for name in VARIABLES:
        for each in (name, name.upper()):
            monkeypatch.setenv(each, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)


@contextlib.contextmanager
def answering(*parts, pause=0.0, accept=True):
    """URL of a server that answers every connection with the bytes of `parts`, a pause after each."""

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection):
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(5)
            while connection.recv(65536):  # closing before all is read would reset the connection
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def _ask(client):
    return client.predict("", {}) if client.address.is_grpc else client.status()


def _both(url, **options):
    """Calls of both clients, each a function."""

    async def ask():
        async with AsyncClient(url, **options) as client:
            return await _ask(client)

    def ask_at_once():
        with Client(url, **options) as client:
            return _ask(client)

    return ask_at_once, lambda: asyncio.run(ask())


@pytest.mark.parametrize(
    "host, local",
    [("localhost", True), ("LOCALHOST", True), ("a.localhost", True), ("127.8.0.1", True), ("[::1]", True)]
    + [("0.0.0.0", True), ("[::ffff:127.0.0.1]", True), ("localhost.example", False), ("10.0.0.1", False)],
)
@pytest.mark.parametrize("scheme", ["grpc", "grpcs", "http", "https"])
def test_which_hosts_need_no_proxy(proxied, scheme, host, local):
    address = parse_address(f"{scheme}://{host}")
    assert is_loopback(address) == local
    assert (proxy_variable(address) is None) == local


@pytest.mark.parametrize("server", [FailingHttp, FailingGrpc])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_reached_around_proxies(proxied, server, host):
    with server() as running:
        for ask in _both(running.url.replace("127.0.0.1", host), retries=0, timeout_s=20):
            ask()
        assert running.asked == 2


@pytest.mark.parametrize(
    "url, name", [("http://server.invalid", "http_proxy"), ("grpc://server.invalid", "grpc_proxy")]
)
def test_a_failure_through_a_proxy_names_its_variable(proxied, url, name):
    for ask in _both(url, retries=0, timeout_s=20):
        with pytest.raises(CallError, match=f"through the proxy that the environment variable {name} sets"):
            ask()


def test_a_proxy_of_an_unknown_kind_is_said(proxied, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "gopher://127.0.0.1:9")
    for ask in _both("http://server.invalid", retries=0, timeout_s=5):
        with pytest.raises(ExportError, match="http_proxy"):
            ask()


def test_no_proxy_lists_hosts_without_one(proxied, monkeypatch):
    monkeypatch.setenv("no_proxy", "server.invalid")
    assert proxy_variable(parse_address("http://server.invalid")) is None
    assert proxy_variable(parse_address("grpc://server.invalid")) is None
    assert proxy_variable(parse_address("http://other.invalid")) == "http_proxy"


def test_netrc_never_replaces_the_token(monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    seen = []

    with FailingHttp() as server:

        class Handler(server.RequestHandlerClass):
            def do_GET(self):
                seen.append(self.headers["Authorization"])
                super().do_GET()

        server.RequestHandlerClass = Handler
        for options in ({"token": "mine"}, {}):
            for ask in _both(server.url, **options):
                ask()
    assert seen == ["Bearer mine"] * 2 + [None] * 2


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        [HEAD + b"Content-Length: 10000\r\n\r\n", *[b" "] * 100],
        [HEAD, *[b"X: 1\r\n"] * 100],
        [HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1\r\n \r\n"] * 100],
        [b"HTTP/1.1 100 Continue\r\n\r\n"] * 100,
    ],
    ids=["body", "headers", "chunks", "continue"],
)
def test_a_server_that_drips_costs_the_deadline(parts):
    with answering(*parts, pause=0.1) as url:
        for ask in _both(url, timeout_s=0.5):
            with pytest.raises(CallError, match="DEADLINE_EXCEEDED"):
                ask()


def _whole(body, more=b""):
    return HEAD + more + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[" * 100_000,
        b'{"model_version_status": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"[" + b"[]," * 400_000 + b"[]]",
        b'{"model_version_status": [{"version": ' + b"9" * 5000 + b"}]}",
        b'{"model_version_status": [{"version": null}]}',
        b'{"model_version_status": 1e999}',
        b'{"model_version_status": [[]]}',
        b'"\xff"',
    ],
    ids=["empty", "open", "deep", "wide", "digits", "null", "infinite", "list", "bytes"],
)
def test_nonsense_is_a_call_error(body):
    with answering(_whole(body)) as url:
        for ask in _both(url, retries=0):
            with pytest.raises(CallError, match="INTERNAL"):
                ask()
    with answering(_whole(body).replace(b"200 OK", b"400 Bad Request")) as url:
        for ask in _both(url, retries=0):
            with pytest.raises(CallError, match="INVALID_ARGUMENT") as raised:
                ask()
            assert len(str(raised.value)) < 5000


def test_a_response_beyond_the_limit_is_a_call_error():
    import gzip

    for body, more in ((b" " * 200_000, b""), (gzip.compress(b" " * 200_000), b"Content-Encoding: gzip\r\n")):
        with answering(_whole(body, more)) as url:
            for ask in _both(url, retries=0, max_response_bytes=100_000):
                with pytest.raises(CallError, match="RESOURCE_EXHAUSTED.*max_response_bytes"):
                    ask()
    with answering(_whole(b"not gzip", b"Content-Encoding: gzip\r\n")) as url:
        for ask in _both(url, retries=0):
            with pytest.raises(CallError, match="INTERNAL"):
                ask()


@pytest.mark.parametrize(
    "outputs",
    [
        {"caption": []},
        {"status": ["ok"], "caption": ["a"]},
        {"status": ["ok", "ok"], "caption": ["a", "b"], "score": [1, 2]},
        {"status": ["ok"], "caption": [1], "score": ["x"]},
        {"status": "ok"},
        [],
    ],
)
def test_outputs_that_are_no_captioners_are_a_call_error(outputs):
    with answering(_whole(json.dumps({"outputs": outputs}).encode())) as url, Client(url, retries=0) as client:
        with pytest.raises(CallError, match="INTERNAL"):
            client.caption(b"image")


def _tensor(kind, *sizes, **values):
    proto = TensorProto(dtype=kind, **values)
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    return proto


@pytest.mark.parametrize(
    "proto",
    [
        _tensor(1, 400_000_000, float_val=[1.0]),
        _tensor(7, 100_000_000, string_val=[b"a"]),
        _tensor(1, 2**40, 2**40, float_val=[1.0]),
        _tensor(1, -1, float_val=[1.0]),
        _tensor(1, *[2**60] * 300, float_val=[1.0]),
        _tensor(1, 3, tensor_content=b"12345678"),
        _tensor(1, 3, tensor_content=b"1234567"),
        _tensor(19, 1, half_val=[70_000]),
        _tensor(99, 1),
        _tensor(1, 5),
    ],
    ids=["numbers", "strings", "product", "negative", "rank", "few", "cut", "half", "type", "none"],
)
def test_a_tensor_that_is_none_costs_nothing(proto):
    with pytest.raises((ValueError, OverflowError)):
        from_proto(TensorProto.FromString(proto.SerializeToString()))

    class Lying(FailingGrpc):
        def service(self, details):
            response = PredictResponse()
            response.outputs["y"].CopyFrom(proto)
            answer = response.SerializeToString()
            return grpc.unary_unary_rpc_method_handler(lambda request, context: answer)

    with Lying() as server:
        for ask in _both(server.url, retries=0, timeout_s=20):
            with pytest.raises(CallError, match="INTERNAL"):
                ask()
