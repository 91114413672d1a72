"""A client knows what to do when nobody answers, or somebody whom it cannot trust."""

import asyncio
import subprocess
import threading
import time
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pytest

from export.client import AsyncClient, CallError, Client
from export.client.messages import PredictResponse
from export.errors import ExportError

DOORS = pytest.mark.parametrize("door", ["grpc", "http"])


class FailingHttp(ThreadingHTTPServer):
    """Answers with `statuses` one after the other, then with a model's status."""

    daemon_threads = True

    def __init__(self, statuses=(), delay=0.0, port=0):
        self.statuses, self.delay, self.asked, self.connections = list(statuses), delay, 0, 0
        super().__init__(("127.0.0.1", port), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error):
        self.shutdown()
        super().__exit__(*error)

    def process_request(self, request, address):
        self.connections += 1
        super().process_request(request, address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked += 1
        time.sleep(self.server.delay)
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        body = b'{"model_version_status": [{"version": "3", "state": "AVAILABLE", "status": {}}]}'
        body = body if status == 200 else b'{"error": "no, not now"}'
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class FailingGrpc(grpc.GenericRpcHandler):
    """Aborts with `codes` one after the other, then answers Predict with nothing."""

    def __init__(self, codes=(), delay=0.0):
        self.codes, self.delay, self.asked = list(codes), delay, 0
        self.server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[self])
        self.url = f"grpc://127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.server.stop(None)

    def service(self, details):
        def answer(request, context):
            self.asked += 1
            time.sleep(self.delay)
            if self.codes:
                context.abort(self.codes.pop(0), "no, not now")
            return PredictResponse().SerializeToString()

        return grpc.unary_unary_rpc_method_handler(answer)


def _ask(client):
    return client.predict("", {}) if client.address.is_grpc else client.status()


def _failing(door, times, code, **options):
    if door == "grpc":
        return FailingGrpc([grpc.StatusCode[code]] * times, **options)
    return FailingHttp([{"UNAVAILABLE": 503, "INTERNAL": 500, "RESOURCE_EXHAUSTED": 429}[code]] * times, **options)


@DOORS
def test_unavailable_is_tried_again(door):
    with _failing(door, 2, "UNAVAILABLE") as server, Client(server.url) as client:
        _ask(client)
        assert server.asked == 3


@DOORS
def test_retries_end(door):
    with _failing(door, 9, "UNAVAILABLE") as server, Client(server.url, retries=2) as client:
        with pytest.raises(CallError, match="UNAVAILABLE: no, not now"):
            _ask(client)
        assert server.asked == 3


@DOORS
@pytest.mark.parametrize("code", ["INTERNAL", "RESOURCE_EXHAUSTED"])
def test_nothing_else_is_tried_again(door, code):
    with _failing(door, 1, code) as server, Client(server.url) as client:
        with pytest.raises(CallError, match=code):
            _ask(client)
        assert server.asked == 1


@DOORS
def test_retries_keep_the_deadline(door):
    with _failing(door, 99, "UNAVAILABLE") as server, Client(server.url, retries=99, timeout_s=0.5) as client:
        started = time.monotonic()
        with pytest.raises(CallError):
            _ask(client)
        assert time.monotonic() - started < 2


@DOORS
def test_a_server_that_hangs_costs_the_deadline(door):
    with _failing(door, 0, "INTERNAL", delay=3) as server, Client(server.url, timeout_s=0.3) as client:
        started = time.monotonic()
        with pytest.raises(CallError, match="DEADLINE_EXCEEDED"):
            _ask(client)
        assert time.monotonic() - started < 2.5

        async def ask():
            async with AsyncClient(server.url, timeout_s=0.3) as other:
                await _ask(other)

        with pytest.raises(CallError, match="DEADLINE_EXCEEDED"):
            asyncio.run(ask())


@pytest.mark.parametrize("url", ["grpc://127.0.0.1:1", "http://127.0.0.1:1"])
def test_nobody_there(url):
    with Client(url, retries=0) as client, pytest.raises(CallError) as raised:
        client.status()
    assert raised.value.code == "UNAVAILABLE"

    async def ask():
        async with AsyncClient(url, retries=0) as other:
            await other.status()

    with pytest.raises(CallError) as raised:
        asyncio.run(ask())
    assert raised.value.code == "UNAVAILABLE"
    with Client(url) as client, pytest.raises(CallError, match="not available after 0.3 s.*UNAVAILABLE"):
        client.wait_until_available(0.3)


def test_connections_are_used_again():
    with FailingHttp() as server, Client(server.url) as client:
        for _ in range(5):
            client.status()
        assert (server.asked, server.connections) == (5, 1)


def test_waiting_until_the_model_is_there():
    with FailingHttp([404, 503, 404]) as server, Client(server.url) as client:
        assert client.wait_until_available(10)[0].state == "AVAILABLE"
        assert server.asked == 4


def test_an_answer_that_is_no_model_servers_is_said():
    class Page(_Handler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"<html>")

    with FailingHttp() as server:
        server.RequestHandlerClass = Page
        with Client(server.url) as client, pytest.raises(CallError, match="not from TensorFlow Serving: '<html>'"):
            client.status()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """PEM files of a certificate for localhost and its key."""
    folder = tmp_path_factory.mktemp("tls")
    files = folder / "server.crt", folder / "server.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        + ["-addext", "subjectAltName=DNS:localhost", "-out", str(files[0]), "-keyout", str(files[1])],
        check=True,
        capture_output=True,
    )
    return files


def test_tls_over_grpc(certificate, tiny_models, tmp_path, images):
    from export.server.local_server import LocalServer
    from export.serving_protos import SslConfig

    pem, key = (path.read_text() for path in certificate)
    (tmp_path / "ssl.config").write_text(str(SslConfig(server_cert=pem, server_key=key)))
    with LocalServer(tiny_models, model_name="captioner", ssl_config_file=str(tmp_path / "ssl.config")) as server:
        url = f"grpcs://localhost:{server.grpc_port}"
        with Client(url, ca_file=certificate[0]) as client:
            assert client.caption(images["grey.jpg"]).status == "ok"
        with Client(url, retries=0) as client, pytest.raises(CallError):  # who signed it is not known
            client.status()
    with pytest.raises(ExportError, match="no-such.pem"):
        Client(url, ca_file="no-such.pem")


def test_tls_over_http(certificate):
    import ssl

    with FailingHttp() as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        url = server.url.replace("http://127.0.0.1", "https://localhost")

        async def ask(**options):
            async with AsyncClient(url, retries=0, **options) as client:
                return await client.status()

        with Client(url, ca_file=certificate[0]) as client:
            assert client.status() == asyncio.run(ask(ca_file=certificate[0]))
        for call in (Client(url).status, lambda: asyncio.run(ask())):
            with pytest.raises(CallError, match="CERTIFICATE_VERIFY_FAILED") as raised:
                call()
            assert raised.value.code == "FAILED_PRECONDITION"  # trying again would not help
        with pytest.raises(ExportError, match="no-such.pem"):
            Client(url, ca_file="no-such.pem")


def test_files_that_tls_cannot_use_are_said(certificate, tmp_path):
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")

    async def ask(**files):
        async with AsyncClient("https://localhost:1", **files) as client:
            await client.status()

    for files in ({"ca_file": junk}, {"certificate_file": junk}):
        with pytest.raises(ExportError, match="junk.pem` is not a PEM file"):
            asyncio.run(ask(**files))
    for files in ({"certificate_file": certificate[0]}, {"key_file": certificate[1]}):
        with pytest.raises(ExportError, match="`certificate_file` and `key_file` together"):
            Client("grpcs://localhost:1", **files)
