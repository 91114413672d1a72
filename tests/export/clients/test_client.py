"""A client gives what the SavedModel answers, whatever carries it, and knows what to do when nothing does."""

import asyncio
import io
import subprocess
import sys
import threading
import time
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from export.client import AsyncClient, CallError, Client
from export.client.address import parse_address
from export.client.messages import MESSAGES, PredictResponse, TensorProto
from export.client.tensors import from_proto, to_array, to_proto
from export.errors import ExportError

ROOT = Path(__file__).resolve().parents[3]
DOORS = pytest.mark.parametrize("door", ["grpc", "http"])


# What travels.


def test_messages_have_the_published_names_numbers_and_types():
    published = {
        "tensorflow.TensorDim": ("tensorflow.core.framework.tensor_shape_pb2", "TensorShapeProto.Dim"),
        "tensorflow.TensorShapeProto": ("tensorflow.core.framework.tensor_shape_pb2", "TensorShapeProto"),
        "tensorflow.TensorProto": ("tensorflow.core.framework.tensor_pb2", "TensorProto"),
        "tensorflow.TensorInfo": ("tensorflow.core.protobuf.meta_graph_pb2", "TensorInfo"),
        "tensorflow.SignatureDef": ("tensorflow.core.protobuf.meta_graph_pb2", "SignatureDef"),
        "tensorflow.serving.ModelSpec": ("tensorflow_serving.apis.model_pb2", "ModelSpec"),
        "tensorflow.serving.StatusProto": ("tensorflow_serving.apis.status_pb2", "StatusProto"),
    }
    places = {
        "Predict": "predict_pb2",
        "ModelVersion": "get_model_status_pb2",
        "GetModelStatus": "get_model_status_pb2",
    }
    places |= {"GetModelMetadata": "get_model_metadata_pb2", "SignatureDefMap": "get_model_metadata_pb2"}
    for full_name, fields in MESSAGES.items():
        name = full_name.rpartition(".")[2]
        place = next((file for start, file in places.items() if name.startswith(start)), None)
        module, path = published.get(full_name, (f"tensorflow_serving.apis.{place}", name))
        message = import_module(module)
        for part in path.split("."):
            message = getattr(message, part)
        for field, (number, kind) in fields.items():
            theirs = message.DESCRIPTOR.fields_by_name[field]
            assert theirs.number == number, (full_name, field)
            assert theirs.is_repeated == (kind[0] in "*@"), (full_name, field)
            kind = kind.lstrip("*@")
            if theirs.message_type is None:
                names = {theirs.TYPE_ENUM: "int32", theirs.TYPE_STRING: "string", theirs.TYPE_BYTES: "bytes"}
                spelled = (
                    names.get(theirs.type)
                    or next(
                        name
                        for name in dir(theirs)
                        if name.startswith("TYPE_") and getattr(theirs, name) == theirs.type
                    )
                    .removeprefix("TYPE_")
                    .lower()
                )
                assert spelled == kind, (full_name, field)
            elif theirs.message_type.GetOptions().map_entry:
                assert theirs.message_type.fields_by_name["key"].type == theirs.TYPE_STRING
                assert "." + theirs.message_type.fields_by_name["value"].message_type.full_name == kind
            else:
                expected = kind.replace(".TensorDim", ".TensorShapeProto.Dim")
                assert "." + theirs.message_type.full_name == expected, (full_name, field)


_KINDS = (
    "float32",
    "float64",
    "int32",
    "int64",
    "uint8",
    "int8",
    "int16",
    "uint16",
    "uint32",
    "uint64",
    "bool",
    "float16",
)
_KINDS += ("complex64", "complex128")
ARRAYS = st.sampled_from(_KINDS).flatmap(
    lambda kind: npst.arrays(kind, npst.array_shapes(min_dims=0, max_dims=3, min_side=0))
)


@settings(max_examples=100, deadline=None)
@given(ARRAYS)
def test_arrays_are_what_tensorflow_reads_and_writes(array):
    import tensorflow as tf
    from tensorflow.core.framework import tensor_pb2

    sent = tensor_pb2.TensorProto.FromString(to_proto(array).SerializeToString())
    np.testing.assert_array_equal(tf.make_ndarray(sent), array)
    for as_list in (False, True):
        theirs = tf.make_tensor_proto(array)
        if as_list:  # value fields, as the server writes them
            from export.server.tensor_protos import to_proto as as_the_server

            theirs = as_the_server(array, theirs.dtype)
        read = from_proto(TensorProto.FromString(theirs.SerializeToString()))
        assert read.dtype == array.dtype and read.shape == array.shape
        np.testing.assert_array_equal(read, array)


def test_strings_keep_every_byte():
    import tensorflow as tf
    from tensorflow.core.framework import tensor_pb2

    values = [b"\x00zero\x00", "Hündin".encode(), b"", b"\xff\xd8"]
    sent = tensor_pb2.TensorProto.FromString(to_proto(to_array(values)).SerializeToString())
    assert tf.make_ndarray(sent).tolist() == values
    assert from_proto(TensorProto.FromString(tf.make_tensor_proto(values).SerializeToString())).tolist() == values
    assert to_array("Hündin")[()] == "Hündin".encode()
    assert to_array(np.array(["ab", "c"])).tolist() == [b"ab", b"c"]


def test_values_cut_short_and_bfloat16():
    short = TensorProto(dtype=1, float_val=[1.0, 2.0])
    short.tensor_shape.dim.add(size=4)
    assert from_proto(short).tolist() == [1, 2, 2, 2]
    half = TensorProto(dtype=14, half_val=[0x3FC0])
    half.tensor_shape.dim.add(size=1)
    assert from_proto(half).tolist() == [1.5]


@pytest.mark.parametrize("value", [[{}], [["a"], [1]], [object()]], ids=["dict", "mixed", "object"])
def test_what_cannot_be_sent_is_said(value):
    with pytest.raises(TypeError):
        to_array(value)


def test_addresses():
    assert parse_address("grpc://host")[1:3] == ("host", 8500)
    assert parse_address("http://[::1]:9")[1:3] == ("[::1]", 9)
    assert parse_address("https://host/gateway/")[1:] == ("host", 443, "/gateway")
    for wrong in ("host:8500", "ftp://host", "grpc://", "http://host:port", "grpc://host/path", "http://host?x=1"):
        with pytest.raises(ExportError, match="URL"):
            parse_address(wrong)


def test_the_client_needs_no_tensorflow():
    code = (
        "import sys; from export.client import Client, AsyncClient\n"
        "Client('grpc://127.0.0.1:1').close(); Client('http://127.0.0.1:1').close()\n"
        "from export.client import grpc_connection, http_connection\n"
        "print([name for name in ('tensorflow', 'tensorflow_serving', 'vl_keras', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Against the server.


@DOORS
def test_every_call_gives_what_the_savedmodel_answers(door, urls, answers, pictures):
    import tensorflow as tf

    data = list(pictures.values())

    def expected(name, **texts):
        inputs = {"image_bytes": tf.constant(data), **{key: tf.constant(value) for key, value in texts.items()}}
        return {key: value.numpy() for key, value in answers[name](**inputs).items()}

    with Client(urls[door]) as client:
        want = expected("caption")
        for row, got in enumerate(client.caption(data)):
            assert (got.status, got.caption.encode()) == ("ok", want["caption"][row])
            assert got.score == pytest.approx(float(want["score"][row]), abs=1e-5)
        contexts = [f"number {row}" for row in range(len(data))]
        want = expected("caption_with_context", context=contexts)
        assert [got.caption.encode() for got in client.caption(data, contexts)] == want["caption"].tolist()
        assert client.caption(data[0], "a wall").caption.endswith(" beside a wall")
        want = expected("caption_candidates")
        for row, got in enumerate(client.candidates(data)):
            assert [text.encode() for text in got.captions] == want["captions"][row].tolist()
            np.testing.assert_allclose(got.scores, want["scores"][row], atol=1e-5)
        want = expected("caption_explain")
        for row, got in enumerate(client.explain(data)):
            assert [word.encode() for word in got.words] == want["tokens"][row][:3].tolist()
            np.testing.assert_allclose(got.attention, want["attention"][row][:3], atol=1e-5)
        want = expected("embed_image")
        for row, got in enumerate(client.embed_image(data)):
            np.testing.assert_allclose(got.embedding, want["embedding"][row], rtol=1e-5)
            assert got.embedding.dtype == np.float32
        want = expected("answer", question=contexts)
        for row, got in enumerate(client.answer(data, contexts)):
            assert got.answer.encode() == want["answer"][row] and got.answers[0] == got.answer
            assert [text.encode() for text in got.answers] == want["answers"][row].tolist()
            np.testing.assert_allclose((got.score, *got.scores), [want["score"][row], *want["scores"][row]], atol=1e-5)
        want = expected("match", text=contexts)
        for row, got in enumerate(client.match(data, contexts)):
            assert got.probability == pytest.approx(float(want["probability"][row]), abs=1e-6)
        vectors = client.embed_text(contexts)
        assert [vector.embedding[0] for vector in vectors] == [len(text) for text in contexts]
        assert client.embed_text("dog").embedding[0] == 3
        assert (
            client.answer([b"junk"], "what?")[0].answer == ""
            and client.match([b"junk"], "a dog")[0].probability is None
        )


@DOORS
def test_a_bad_picture_costs_itself(door, urls, pictures, tmp_path):
    good = pictures["landscape.jpg"]
    sent = [good, b"", good[:300], tmp_path / "missing.jpg", b"GIF89a" + bytes(20), tmp_path, good]
    with Client(urls[door]) as client:
        found = client.caption(sent)
        assert [row.status.split(":")[0] for row in found] == [
            *("ok", "empty", "damaged", "unreadable", "unsupported", "unreadable", "ok")
        ]
        assert found[0] == found[-1] == client.caption(good)
        assert all(row.caption == "" and row.score is None for row in found[1:-1])
        assert client.candidates([b"junk"])[0].captions == ()
        assert client.explain([b"junk"])[0].words == ()
        assert client.embed_image([b"junk"])[0].embedding is None
        assert client.caption([]) == []
        assert client.caption([tmp_path / "missing.jpg"])[0].status.startswith("unreadable: No such file")


@DOORS
def test_batches_are_split(door, urls, pictures):
    data = list(pictures.values())
    with Client(urls[door]) as whole, Client(urls[door], max_batch_size=3) as parts:
        one, other = whole.caption(data), parts.caption(iter(data))
    assert [row.caption for row in one] == [row.caption for row in other]


@DOORS
def test_pictures_may_be_paths_bytes_or_pil(door, urls, pictures, tmp_path):
    path = tmp_path / "alpha.png"
    path.write_bytes(pictures["alpha.png"])
    opened = Image.open(io.BytesIO(pictures["alpha.png"]))
    with Client(urls[door]) as client:
        rows = client.caption([path, str(path), pictures["alpha.png"], bytearray(pictures["alpha.png"]), opened])
        assert len(set(rows)) == 1
        turned = Image.open(io.BytesIO(pictures["turned.jpg"]))
        assert client.embed_image(turned).status == "ok"
        assert client.caption(Image.new("CMYK", (9, 7))).status == "ok"
        with pytest.raises(TypeError, match="path, bytes or a PIL"):
            client.caption([1])


def test_both_doors_give_the_same(urls, pictures):
    data = list(pictures.values())[:4]
    with Client(urls["grpc"]) as one, Client(urls["http"]) as other:
        assert one.caption(data) == other.caption(data)
        assert one.candidates(data) == other.candidates(data)
        assert one.metadata() == other.metadata()
        assert one.status() == other.status()


@DOORS
def test_versions_and_labels(door, urls, pictures):
    picture = pictures["landscape.jpg"]
    with Client(urls[door]) as newest, Client(urls[door], version=1) as first, Client(urls[door], label="old") as old:
        assert newest.caption(picture).score == pytest.approx(first.caption(picture).score + 1, abs=1e-5)
        assert first.caption(picture) == old.caption(picture)
        assert [(each.version, each.state, each.code) for each in newest.status()] == [
            *((2, "AVAILABLE", "OK"), (1, "AVAILABLE", "OK"))
        ]
        assert (first.metadata().version, newest.metadata().version) == (1, 2)
        signature = newest.metadata().signatures["caption_candidates"]
        assert signature.inputs == {"image_bytes": ("string", (None,))}
        assert signature.outputs["scores"] == ("float", (None, 3))
    with pytest.raises(ExportError, match="not both"):
        Client(urls[door], version=1, label="old")


@DOORS
def test_any_signature(door, urls, pictures):
    with Client(urls[door]) as client:
        inputs = {"image_bytes": [pictures["grey.jpg"]], "context": ["a wall"]}
        found = client.predict("caption_with_context", inputs)
        assert set(found) == {"caption", "score", "status"} and found["caption"].shape == (1,)
        assert list(client.predict("caption_with_context", inputs, ["status"])) == ["status"]
        assert client.predict("", {"image_bytes": [b""]})["status"][0].startswith(b"empty")


@DOORS
def test_numbers_and_single_outputs(door, tmp_path):
    import tensorflow as tf

    from export.server.local_server import LocalServer

    module = tf.Module()
    module.half = tf.function(lambda x: {"y": x / 2 + 2}, input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")])
    tf.saved_model.save(module, str(tmp_path / "numbers/7"), signatures=module.half.get_concrete_function())
    with LocalServer(tmp_path / "numbers", model_name="numbers") as server:
        url = {"grpc": f"grpc://127.0.0.1:{server.grpc_port}", "http": f"http://127.0.0.1:{server.rest_port}"}[door]
        with Client(url, "numbers") as client:
            found = client.predict("serving_default", {"x": [[1.0, 2.0], [5.0, 6.5]]})
            np.testing.assert_allclose(found["y"], [[2.5, 3], [4.5, 5.25]])


@DOORS
def test_errors_have_the_servers_code_and_words(door, urls):
    with Client(urls[door], "nobody") as client:
        with pytest.raises(CallError, match="Could not find any versions of model nobody") as raised:
            client.status()
        assert raised.value.code == "NOT_FOUND"
        with pytest.raises(CallError) as raised:
            client.caption(b"x")
        assert raised.value.code == "NOT_FOUND"
    with Client(urls[door]) as client, pytest.raises(CallError, match="no_such") as raised:
        client.predict("no_such", {"image_bytes": [b""]})
    assert raised.value.code in ("FAILED_PRECONDITION", "INVALID_ARGUMENT")


@DOORS
def test_asyncio_gives_the_same(door, urls, pictures):
    data = list(pictures.values())[:5]

    async def ask():
        async with AsyncClient(urls[door]) as client:
            await client.wait_until_available(10)
            many = await asyncio.gather(*(client.caption(picture) for picture in data))
            with pytest.raises(CallError):
                await client.predict("no_such", {"image_bytes": [b""]})
            return many, await client.explain(data[0]), await client.metadata()

    with Client(urls[door]) as client:
        many, explained, metadata = asyncio.run(ask())
        assert many == [client.caption(picture) for picture in data]
        np.testing.assert_allclose(explained.attention, client.explain(data[0]).attention, atol=1e-6)
        assert metadata == client.metadata()


@DOORS
def test_threads_share_a_client(door, urls, pictures):
    data = list(pictures.values())
    with Client(urls[door]) as client, futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(client.caption, data)) == [client.caption(picture) for picture in data]


@DOORS
def test_tokens(door, tiny_models, tmp_path, pictures):
    from export.server.local_server import LocalServer

    (tmp_path / "token").write_text("secret\n")
    with LocalServer(tiny_models, model_name="captioner", auth_token_file=str(tmp_path / "token")) as server:
        url = {"grpc": f"grpc://127.0.0.1:{server.grpc_port}", "http": f"http://127.0.0.1:{server.rest_port}"}[door]
        with Client(url, token="secret") as client:
            assert client.caption(pictures["grey.jpg"]).status == "ok"
        for token in (None, "wrong"):
            with Client(url, token=token) as client, pytest.raises(CallError) as raised:
                client.caption(pictures["grey.jpg"])
            assert raised.value.code == "UNAUTHENTICATED"


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


def test_tls_over_grpc(certificate, tiny_models, tmp_path, pictures):
    from export.server.local_server import LocalServer
    from export.serving_protos import SslConfig

    pem, key = (path.read_text() for path in certificate)
    (tmp_path / "ssl.config").write_text(str(SslConfig(server_cert=pem, server_key=key)))
    with LocalServer(tiny_models, model_name="captioner", ssl_config_file=str(tmp_path / "ssl.config")) as server:
        url = f"grpcs://localhost:{server.grpc_port}"
        with Client(url, ca_file=certificate[0]) as client:
            assert client.caption(pictures["grey.jpg"]).status == "ok"
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
        with Client(url, retries=0) as client, pytest.raises(CallError, match="CERTIFICATE_VERIFY_FAILED"):
            client.status()
        with pytest.raises(CallError, match="CERTIFICATE_VERIFY_FAILED"):
            asyncio.run(ask())
        with pytest.raises(ExportError, match="no-such.pem"):
            Client(url, ca_file="no-such.pem")


# Against servers that fail.


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
        with Client(server.url) as client, pytest.raises(CallError, match="not TensorFlow Serving's: '<html>'"):
            client.status()
