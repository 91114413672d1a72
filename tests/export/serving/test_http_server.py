"""The HTTP server: limits, connections, deadlines, tokens and the stop, over real sockets."""

import asyncio
import contextlib
import gzip
import http.client
import json
import socket
import threading
import time
import tracemalloc

import grpc
import numpy as np
import pytest
import serving_models
from served import Served, call
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from export.server.metrics import Metrics
from export.server.options import ServeOptions
from export.server.request_body import gunzip
from export.server.serving_error import ServingError

PREDICT = "/v1/models/half/versions/1:predict"
BODY = b'{"instances": [2.0]}'


@pytest.fixture(scope="module")
def options(written, tmp_path_factory):
    """`ServeOptions` of one model, `half`."""
    base = tmp_path_factory.mktemp("http") / "half"
    serving_models.publish(written["half_2"], base, 1)
    return ServeOptions(model_base_path=str(base), model_name="half")


@pytest.fixture(scope="module")
def served(options):
    http = {"max_header_bytes": 8000, "read_timeout_s": 1, "keep_alive_s": 2}
    with Served(options, http=http, max_body_bytes=100_000, monitoring_path="/metrics") as server:
        yield server


def _send(address, data, timeout=10):
    """Everything the server says to raw bytes until it closes the connection or is silent for a second."""
    with socket.create_connection(address, timeout=timeout) as connection:
        connection.sendall(data)
        connection.settimeout(1)
        received = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while chunk := connection.recv(65536):
                received += chunk
        return received


def _request(body=BODY, more=b""):
    return b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n%s\r\n%s" % (PREDICT.encode(), len(body), more, body)


def _closes_within(address, data, seconds):
    with socket.create_connection(address, timeout=seconds) as connection:
        connection.sendall(data)
        while connection.recv(65536):
            pass


def test_keep_alive(served):
    connection = http.client.HTTPConnection(*served.address)
    sockets, times = set(), []
    for _ in range(20):
        start = time.perf_counter()
        connection.request("POST", PREDICT, BODY)
        assert json.loads(connection.getresponse().read()) == {"predictions": [3.0]}
        sockets.add(connection.sock.getsockname())
        times.append(time.perf_counter() - start)
    assert len(sockets) == 1
    assert min(times) < 0.035  # no answer waits for the client's acknowledgement of its head
    connection.close()


def test_pipelined_requests_are_answered_in_order(served):
    bodies = [b'{"instances": [%d]}' % number for number in range(20)]
    answers = _send(served.address, b"".join(map(_request, bodies)))
    values = [json.loads(b"{" + part.split(b"{", 1)[1])["predictions"] for part in answers.split(b"HTTP/1.1 200")[1:]]
    assert values == [[number / 2 + 2] for number in range(20)]


def test_chunked_bodies(served):
    head = b"POST %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" % PREDICT.encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (BODY[:7], BODY[7:]))
    assert b"[3.0\n" in _send(served.address, head + chunks + b"0\r\n\r\n")


def test_a_body_that_is_too_large_is_refused(served):
    status, headers, body = call(served.address, "POST", PREDICT, b" " * 100_001)
    assert status == 413 and "100000 bytes" in json.loads(body)["error"]
    assert headers["content-type"] == "application/json"
    head = b"POST %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" % PREDICT.encode()
    assert b" 413 " in _send(served.address, head + b"ffff\r\n" + b" " * 0xFFFF + b"\r\n" + b"ffff\r\n" + b" " * 0xFFFF)
    assert call(served.address, "POST", PREDICT, b" " * 90_000 + BODY)[0] == 200


def test_long_headers_and_paths_are_refused(served):
    answer = _send(served.address, _request(more=b"X: " + b"a" * 9000 + b"\r\n"))
    assert b" 431 " in answer and b'"error"' in answer
    answer = _send(served.address, _request(more=b"X: a\r\n" * 2000))
    assert b" 431 " in answer
    assert b" 414 " in _send(served.address, b"GET /v1/models/" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n")


@pytest.mark.parametrize(
    "data",
    [b"\x16\x03\x01", b"HELLO\r\n\r\n", b"GET\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n", b"FOO /v1/ HTTP/1.1\r\n\r\n"],
)
def test_what_is_no_http_gets_an_error(served, data):
    answer = _send(served.address, data + b"\r\n" * 10)
    assert answer.startswith(b"HTTP/1.1 400") and b"application/json" in answer and b'"error"' in answer


def test_slow_clients_are_let_go(served):
    _closes_within(served.address, b"", 5)  # nothing at all
    _closes_within(served.address, b"POST /v1/models", 5)  # never the end of the headers
    _closes_within(served.address, _request()[:-5], 5)  # never the end of the body
    _closes_within(served.address, _request(), 5)  # nothing after a request


def test_upgrades_are_ignored(served):
    more = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: YQ==\r\nSec-WebSocket-Version: 13\r\n"
    assert b"101" not in _send(served.address, _request(more=more))[:20]


UPGRADES = {
    "websocket": b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n",
    "http2": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    "two": b"Connection: upgrade\r\nConnection: Upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n",
}


@pytest.mark.parametrize("more", UPGRADES.values(), ids=UPGRADES)
@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("cut", [0, 10, -10])
def test_a_request_that_offers_an_upgrade_keeps_its_body(served, more, is_chunked, cut):
    """Whatever packets it comes in; a body in a later packet was once run as the next request."""
    inner = b"POST /v1/models/none:predict HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
    body = BODY + inner  # what follows the JSON is ignored
    if is_chunked:
        data = b"POST %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n%s\r\n" % (PREDICT.encode(), more)
        head, data = len(data), data + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    else:
        data = _request(body, more)
        head = len(data) - len(body)
    with socket.create_connection(served.address, timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(data[: head + cut])
        time.sleep(0.1)
        connection.sendall(data[head + cut :] + _request(b'{"instances": [4.0]}', b"Connection: close\r\n"))
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    answers = [part.split(b"\r\n\r\n")[1] for part in received.split(b"HTTP/1.1 200 OK")[1:]]
    assert [json.loads(answer)["predictions"] for answer in answers] == [[3.0], [4.0]], received


def test_connect_is_refused(served):
    assert b" 400 " in _send(served.address, b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n" + b"x" * 100)


@pytest.mark.parametrize(
    "start",
    [
        b"POST %s HTTP/1.1\r\nX: " % PREDICT.encode(),
        b"POST %s HTTP/1.1\r\nX" % PREDICT.encode(),
        b"POST %s HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" % PREDICT.encode(),
        b"POST %s HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " % PREDICT.encode(),
    ],
    ids=["value", "name", "extension", "trailer"],
)
def test_a_header_that_does_not_end_is_cut(served, start):
    sent = 0
    with socket.create_connection(served.address, timeout=10) as connection:
        connection.sendall(start)
        with contextlib.suppress(OSError):
            while sent < 50 * 2**20:
                sent += connection.send(b"a" * 65536)
    assert sent < 20 * 2**20  # what the buffers of the system hold


def test_the_names_of_unknown_models_cost_little():
    metrics = Metrics()
    for number in range(2000):
        metrics.observe(f"{number}" * 10_000, "Predict", "REST", "OK", 0.1)
        metrics.observe(f"m{number}", "Predict", "REST", "NOT_FOUND", 0.1)
    assert len(metrics.text()) < 200_000 and b'model_name="(other)"' in metrics.text()


def test_a_name_is_listened_at_with_all_its_addresses(gate):
    addresses = {each[4][0] for each in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    with Served(gate, http={"host": "localhost"}) as served:
        reached = 0
        for address in addresses:
            with contextlib.suppress(OSError):
                reached += call((address, served.server.port), "GET", "/")[0] == 404
        assert reached == len(served.server._sockets)


def test_requests_are_counted(served):
    call(served.address, "POST", "/v1/models/none:regress", b'{"examples": [{}]}')
    call(served.address, "GET", "/v1/models/half")
    text = call(served.address, "GET", "/metrics")[2].decode()
    assert ':tensorflow:serving:request_count{model_name="none",status="NOT_FOUND"} 1\n' in text
    assert ':tensorflow:serving:request_count{model_name="half",status="OK"}' in text
    assert call(served.address, "GET", "/monitoring/prometheus/metrics")[0] == 404


def test_a_bearer_token(options):
    with Served(options, token="secret", monitoring_path="/metrics") as served:
        for given in (None, "secret", "Bearer", "Bearer wrong", "Basic secret", "Bearer secret2", "Bearer é"):
            headers = {"Authorization": given.encode()} if given else {}
            for path in ("/v1/models/half", "/metrics", "/other"):
                status, found, body = call(served.address, "GET", path, headers=headers)
                assert status == 401 and "error" in json.loads(body) and found["www-authenticate"] == "Bearer"
        for given in ("Bearer secret", "bearer  secret"):
            assert call(served.address, "GET", "/v1/models/half", headers={"Authorization": given.encode()})[0] == 200


def test_size_bombs_are_refused_at_once():
    spaces = gzip.compress(b" " * (100 * 2**20 - 1))
    zeros = gzip.compress(b'{"instances": [' + b"0," * (30 * 2**20) + b"0]}", 1)
    beyond = gzip.compress(bytes(101 * 2**20), 1)
    lying = beyond[:-4] + b"\x10\0\0\0"
    tracemalloc.start()
    for bomb in (spaces, zeros, beyond, lying):
        start = time.perf_counter()
        assert gunzip(bomb) == b""
        assert time.perf_counter() - start < 0.2
    assert tracemalloc.get_traced_memory()[1] < 5 * 2**20
    tracemalloc.stop()
    noise = np.random.default_rng(0).integers(48, 58, 2**20, np.uint8).tobytes()
    assert gunzip(gzip.compress(noise)) == noise
    assert gunzip(gzip.compress(b" " * 15 * 2**20)) == b" " * 15 * 2**20


class _Gate:
    """A core whose one servable waits until the test lets it go on, and notes what became of each run."""

    def __init__(self):
        self.metrics = Metrics()
        self.signatures = {"serving_default": meta_graph_pb2.SignatureDef()}
        self.signatures["serving_default"].inputs["x"].dtype = types_pb2.DT_FLOAT
        self.open = threading.Event()
        self.started = threading.Event()
        self.became = []

    @contextlib.contextmanager
    def servable(self, model_spec):
        yield self

    async def run(self, signature_name, inputs, outputs=None, deadline=None):
        self.started.set()
        try:
            while not self.open.is_set():
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.became.append("cancelled")
            raise
        self.became.append("done")
        if inputs["x"].ravel()[0] == 500:
            raise RuntimeError("secret text of /home/somebody/model.py")
        if inputs["x"].ravel()[0] == 503:
            raise ServingError(grpc.StatusCode.UNAVAILABLE, "The batch scheduling queue is full.")
        return {"y": inputs["x"]}


@pytest.fixture
def gate():
    return _Gate()


def test_a_client_that_goes_cancels_its_request(gate):
    with Served(gate) as served:
        with socket.create_connection(served.address) as connection:
            connection.sendall(_request())
            assert gate.started.wait(10)
        for _ in range(200):
            if gate.became and b'status="CANCELLED"} 1' in gate.metrics.text():
                break
            time.sleep(0.01)
        assert gate.became == ["cancelled"]
        assert b'status="CANCELLED"} 1' in gate.metrics.text()


def test_the_timeout(gate):
    with Served(gate, timeout_ms=200) as served:
        start = time.perf_counter()
        status, _, body = call(served.address, "POST", PREDICT, BODY)
        assert status == 504 and json.loads(body)["error"] == "Timed out waiting for notification"
        assert 0.15 < time.perf_counter() - start < 5
        assert gate.became == ["cancelled"]


def test_faults_of_the_server_say_nothing_of_it(gate, caplog):
    gate.open.set()
    with Served(gate) as served:
        status, headers, body = call(served.address, "POST", PREDICT, b'{"instances": [500]}')
        assert status == 500 and json.loads(body) == {"error": "Internal error."}
        assert headers["content-type"] == "application/json"
        assert "secret text" in caplog.text
        status, _, body = call(served.address, "POST", PREDICT, b'{"instances": [503]}')
        assert status == 503 and "queue is full" in json.loads(body)["error"]


def test_large_bodies_do_not_hold_up_others(gate):
    """While 6 MB of numbers are read, short requests go on."""
    gate.open.set()
    numbers = np.random.default_rng(0).normal(size=300_000).round(9).tolist()
    body = json.dumps({"instances": numbers}).encode()
    with Served(gate) as served:
        call(served.address, "POST", PREDICT, BODY)
        large = threading.Thread(target=call, args=(served.address, "POST", PREDICT, body))
        large.start()
        waits = []
        while large.is_alive():
            start = time.perf_counter()
            assert call(served.address, "POST", PREDICT, BODY)[0] == 200
            waits.append(time.perf_counter() - start)
        large.join()
    assert len(waits) > 3 and np.median(waits) < 0.5


def test_a_stop_answers_everything_that_was_accepted(gate):
    with Served(gate) as served:
        results = []
        callers = [
            threading.Thread(target=lambda: results.append(call(served.address, "POST", PREDICT, BODY)))
            for _ in range(8)
        ]
        idle = http.client.HTTPConnection(*served.address)
        idle.request("GET", "/other")
        idle.getresponse().read()
        for caller in callers:
            caller.start()
        assert gate.started.wait(10)
        time.sleep(0.3)
        stop = threading.Thread(target=lambda: served.do(served.server.stop(20)))
        stop.start()
        time.sleep(0.5)
        with pytest.raises(OSError):
            call(served.address, "GET", "/v1/models/half")
        assert stop.is_alive() and not results
        gate.open.set()
        stop.join(20)
        for caller in callers:
            caller.join(10)
        assert [status for status, _, _ in results] == [200] * 8
        assert {headers["connection"] for _, headers, _ in results} == {"close"}


def test_a_stop_loses_no_request(options):
    """Clients that connect anew for each request, or keep their connection, are answered or cannot connect at all."""
    results = []

    def ask(address, keep):
        connection = None
        while True:
            try:
                if connection is None:
                    connection = http.client.HTTPConnection(*address, timeout=20)
                    connection.connect()
            except ConnectionRefusedError:
                return
            try:
                connection.request("POST", PREDICT, BODY)
                answer = connection.getresponse()
                answer.read()
                results.append(answer.status)
            except OSError as error:
                results.append(repr(error))
                return
            if not keep or answer.getheader("connection") == "close":
                connection.close()
                connection = None

    with Served(options) as served:
        clients = [threading.Thread(target=ask, args=(served.address, place % 2)) for place in range(8)]
        for client in clients:
            client.start()
        time.sleep(0.3)
        served.do(served.server.stop(20))
        for client in clients:
            client.join(20)
    assert len(results) >= 8 and set(results) == {200}


def test_a_stop_does_not_wait_for_ever(gate):
    with Served(gate) as served:
        results = []
        caller = threading.Thread(target=lambda: results.append(call(served.address, "POST", PREDICT, BODY)))
        caller.start()
        assert gate.started.wait(10)
        start = time.perf_counter()
        served.do(served.server.stop(0.2))
        assert time.perf_counter() - start < 5
        caller.join(10)
        assert results[0][0] == 503 and "shutting down" in results[0][2].decode()


def test_a_port_in_use_is_an_error(served, gate):
    with pytest.raises(OSError):
        Served(gate, http={"port": served.server.port}).__enter__()
