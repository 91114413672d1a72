"""TLS, tokens, health, reflection, metrics, messages that unfold, and what may not be started."""

import datetime
import ipaddress
import resource
import time

import calls
import grpc
import numpy as np
import pytest
import requests
from calls import Calls, refused
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from serving_models import edit, publish
from tensorflow.core.framework import tensor_pb2, types_pb2

from export.errors import ExportError
from export.server import grpc_interceptors
from export.server.local_server import LocalServer
from export.server.tensor_protos import MAX_REPEATED_BYTES

code = grpc.StatusCode
X = {"x": np.float32([1])}


@pytest.fixture(scope="session")
def tools(written, tmp_path_factory):
    base = tmp_path_factory.mktemp("guarded") / "tools"
    publish(written["tools"], base, 1)
    return base


def certificate(name, issuer=None, days=1):
    """`(key, certificate)`, signed by `issuer`, or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    signing_key, signer = (issuer[0], issuer[1].subject) if issuer else (key, subject)
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(signer, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=9)).not_valid_after(now + datetime.timedelta(days))
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
    builder = builder.add_extension(x509.BasicConstraints(issuer is None, None), True)
    return key, builder.sign(signing_key, hashes.SHA256())


def pem(key, cert):
    form = serialization
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    return private, cert.public_bytes(form.Encoding.PEM)


def write_ssl_config(path, authority, client_verify):
    key, cert = pem(*certificate("localhost", authority))
    ca = pem(*authority)[1]
    quoted = [part.decode().replace("\n", "\\n") for part in (key, cert, ca)]
    path.write_text(
        f"server_key: '{quoted[0]}' server_cert: '{quoted[1]}' custom_ca: '{quoted[2]}' "
        f"client_verify: {str(client_verify).lower()}"
    )
    return ca


@pytest.mark.parametrize("client_verify", [False, True])
def test_tls_and_mutual_tls(kind, tools, tmp_path, client_verify):
    authority = certificate("authority")
    ca = write_ssl_config(tmp_path / "ssl.config", authority, client_verify)
    own_key, own_cert = pem(*certificate("client", authority))
    other_key, other_cert = pem(*certificate("client", certificate("another authority")))
    with calls.serving(kind, tools, model_name="tools", ssl_config_file=tmp_path / "ssl.config") as plain:
        known = Calls(plain.port, grpc.ssl_channel_credentials(ca, own_key, own_cert))
        assert known.predict("tools", X).outputs["y"].float_val == [2]
        assert refused(plain.predict, "tools", X, timeout=5)[0] == code.UNAVAILABLE
        for credentials in (
            grpc.ssl_channel_credentials(ca),
            grpc.ssl_channel_credentials(ca, other_key, other_cert),
        ):
            stranger = Calls(plain.port, credentials)
            if client_verify:
                assert refused(stranger.predict, "tools", X, timeout=5)[0] == code.UNAVAILABLE
            else:
                assert stranger.predict("tools", X).outputs["y"].float_val == [2]


def test_a_token_is_asked_for_over_grpc_and_rest(tools, tmp_path):
    (tmp_path / "token").write_text("s3cret\n")
    with LocalServer(tools, model_name="tools", auth_token_file=str(tmp_path / "token")) as server:
        client = Calls(server.grpc_port)
        metadata = [("authorization", "Bearer s3cret")]
        assert client.predict("tools", X, metadata=metadata).outputs["y"].float_val == [2]
        for wrong in (None, [("authorization", "Bearer s3cre")], [("authorization", "s3cret")]):
            assert refused(client.predict, "tools", X, metadata=wrong)[0] == code.UNAUTHENTICATED
        assert refused(client.status, "tools")[0] == code.UNAUTHENTICATED
        assert refused(client.reload)[0] == code.UNAUTHENTICATED
        health_pb2_grpc.HealthStub(client.channel).Check(health_pb2.HealthCheckRequest())
        url = f"http://127.0.0.1:{server.rest_port}/v1/models/tools"
        assert requests.get(url).status_code == 401
        assert requests.get(url, headers={"Authorization": "Bearer s3cret"}).status_code == 200


def test_health_follows_the_models(written, tmp_path):
    (tmp_path / "tools").mkdir()
    with LocalServer(tmp_path / "tools", model_name="tools", file_system_poll_wait_seconds=0.1) as server:
        client = Calls(server.grpc_port)
        health = health_pb2_grpc.HealthStub(client.channel)
        request = health_pb2.HealthCheckRequest(service="tensorflow.serving.PredictionService")
        assert health.Check(request).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert "All models are available." not in server.lines
        publish(written["tools"], tmp_path / "tools", 1)
        client.wait_for("tools", v1="AVAILABLE")
        time.sleep(0.3)
        for name in ("", "tensorflow.serving.PredictionService"):
            status = health.Check(health_pb2.HealthCheckRequest(service=name)).status
            assert status == health_pb2.HealthCheckResponse.SERVING
        assert "All models are available." in server.lines


def test_reflection_tells_services_and_messages(tools):
    with LocalServer(tools, model_name="tools") as server:
        stub = reflection_pb2_grpc.ServerReflectionStub(Calls(server.grpc_port).channel)
        ask = reflection_pb2.ServerReflectionRequest
        wanted = [ask(list_services=""), ask(file_containing_symbol="tensorflow.serving.PredictionService")]
        services, file = stub.ServerReflectionInfo(iter(wanted))
        names = {each.name for each in services.list_services_response.service}
        assert {"tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"} <= names
        assert b"MultiInference" in file.file_descriptor_response.file_descriptor_proto[0]


def test_metrics_count_what_was_answered(tools, tmp_path):
    (tmp_path / "monitoring.config").write_text("prometheus_config { enable: true path: '/metrics' }")
    with LocalServer(tools, model_name="tools", monitoring_config_file=str(tmp_path / "monitoring.config")) as server:
        client = Calls(server.grpc_port)
        client.predict("tools", X)
        refused(client.predict, "tools", {})
        url = f"http://127.0.0.1:{server.rest_port}"
        assert requests.post(f"{url}/v1/models/tools:predict", json={"instances": [1]}).status_code == 200
        lines = requests.get(f"{url}/metrics").text.splitlines()
    assert ':tensorflow:serving:request_count{model_name="tools",status="OK"} 2' in lines
    assert ':tensorflow:serving:request_count{model_name="tools",status="INVALID_ARGUMENT"} 1' in lines
    for api, entrypoint in (("Predict", "GRPC"), ("predict", "REST")):
        labels = f'{{model_name="tools",API="{api}",entrypoint="{entrypoint}"}}'
        assert f":tensorflow:serving:request_latency_count{labels} 1" in lines


def bomb(dtype, *sizes, **values):
    proto = tensor_pb2.TensorProto(dtype=dtype, **values)
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    return proto


@pytest.mark.parametrize(
    "signature, proto",
    [
        ("echo_float32", bomb(types_pb2.DT_FLOAT, 100_000_000, float_val=[1])),
        ("echo_float32", bomb(types_pb2.DT_FLOAT, 100_000_000)),
        ("echo_string", bomb(types_pb2.DT_STRING, 100_000_000, string_val=[b""])),
        ("echo_string", bomb(types_pb2.DT_STRING, 1000, string_val=[b"x" * 10_000_000])),
        ("echo_bool", bomb(types_pb2.DT_BOOL, MAX_REPEATED_BYTES + 2, bool_val=[True])),
        ("echo_int64", bomb(types_pb2.DT_INT64, 2**40, 2**40, int64_val=[1])),
    ],
    ids=["one value", "no value", "strings", "a long string", "bools", "overflow"],
)
def test_a_small_message_cannot_ask_for_much_memory(tools, signature, proto):
    with LocalServer(tools, model_name="tools", rest_api_port=0) as server:
        client = Calls(server.grpc_port)
        client.predict("tools", X)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.monotonic()
        got, text = refused(client.predict, "tools", {"x": proto}, signature)
        assert time.monotonic() - started < 2
        assert got == code.INVALID_ARGUMENT
        assert "tensor parsing error: x" in text
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_default_inputs_of_a_signature_fill_in(kind, written, tmp_path):
    publish(written["tools"], tmp_path / "tools", 1)

    def add_default(meta_graph):
        default = meta_graph.signature_def["join"].defaults["end"]
        default.CopyFrom(bomb(types_pb2.DT_STRING, 1, string_val=[b"!"]))

    edit(tmp_path / "tools" / "1", add_default)
    with calls.serving(kind, tmp_path / "tools", model_name="tools") as client:
        text = {"text": np.array([b"a"], object)}
        assert client.value("tools", text, "join").tolist() == [b"a!"]
        end = {"end": np.array([b"?"], object)}
        assert client.value("tools", {**text, **end}, "join").tolist() == [b"a?"]
        wrong = {"txt": text["text"]}
        for inputs, part in (
            (end, "Signature input alias: text(feed name: join_text:0) not found in request and no default value"),
            ({}, "Signature input alias: text(feed name: join_text:0) not found in request and no default value"),
            ({**text, **wrong}, "Inputs contains invalid name. Used request inputs: text, request input: text,txt"),
            ({**text, **end, **wrong}, "Sent extra: {txt}. Missing but required: {}."),
        ):
            got, details = refused(client.predict, "tools", inputs, "join")
            assert got == code.INVALID_ARGUMENT
            assert part in details


def test_two_inputs_cannot_be_one_tensor(kind, written, tmp_path):
    publish(written["tools"], tmp_path / "tools", 1)

    def join_with_itself(meta_graph):
        inputs = meta_graph.signature_def["join"].inputs
        inputs["end"].name = inputs["text"].name

    edit(tmp_path / "tools" / "1", join_with_itself)
    with calls.serving(kind, tmp_path / "tools", model_name="tools") as client:
        inputs = {"text": np.array([b"a"], object), "end": np.array([b"!"], object)}
        got, details = refused(client.predict, "tools", inputs, "join")
        assert got == code.INVALID_ARGUMENT
        assert 'Endpoint "join_text:0" fed more than once.' in details


def test_a_taken_port_is_told(tools):
    with LocalServer(tools, model_name="tools") as server:
        for name, port in (("port", server.grpc_port), ("rest_api_port", server.rest_port)):
            with pytest.raises(ExportError, match=f"Cannot listen at 127.0.0.1:{port}.* another --{name}"):
                LocalServer(tools, **{name: port})


@pytest.mark.parametrize(
    "flags, part",
    [
        ({"model_config_file": "/no/such/file"}, "Cannot read the ModelServerConfig in `/no/such/file`"),
        ({"model_config_file": __file__}, "Error parsing text-format tensorflow.serving.ModelServerConfig: "),
        ({"ssl_config_file": "/no/such/file"}, "Cannot read the SSLConfig"),
        ({"auth_token_file": "/no/such/file"}, "Cannot read the token"),
        ({"bind_address": "192.0.2.1"}, "Cannot listen at 192.0.2.1"),
        ({"grpc_channel_arguments": "nonsense"}, "key=value"),
        ({"batching_parameters_file": "x"}, "without --enable_batching"),
    ],
)
def test_what_cannot_be_started_says_why(tools, flags, part):
    with pytest.raises(ExportError, match=part):
        LocalServer(tools, model_name="tools", **flags)


@pytest.mark.parametrize("value", ["+60000", "9999999999", "-9999999999", "--5", "grpclb"])
def test_any_value_of_a_channel_argument_is_passed_on(kind, tools, value):
    arguments = f"grpc.max_connection_age_ms=60000,grpc.keepalive_time_ms={value}"
    with calls.serving(kind, tools, model_name="tools", grpc_channel_arguments=arguments) as client:
        assert client.predict("tools", X).outputs["y"].float_val == [2]


def test_labels_at_the_start_need_the_flag(written, tmp_path):
    publish(written["half_2"], tmp_path / "half", 1)
    config = tmp_path / "models.config"
    config.write_text(
        f"model_config_list {{ config {{ name: 'half' base_path: '{tmp_path / 'half'}' model_platform: 'tensorflow' "
        "version_labels { key: 'stable' value: 1 } } }"
    )
    with pytest.raises(ExportError, match="Request to assign label to version 1 of model half, which is not"):
        LocalServer(model_config_file=str(config))


def test_listening_beyond_this_machine_warns(tools, tmp_path, capfd):
    with LocalServer(tools, model_name="tools", bind_address="0.0.0.0"):
        assert "WARNING: listening at 0.0.0.0" in capfd.readouterr().err
    (tmp_path / "token").write_text("s3cret")
    with LocalServer(tools, model_name="tools", bind_address="0.0.0.0", auth_token_file=str(tmp_path / "token")):
        said = capfd.readouterr().err
        assert "WARNING: listening" not in said and "the token travels in clear text" in said


def test_a_bad_certificate_is_named(tools, tmp_path, capfd):
    authority = certificate("authority")
    path = tmp_path / "ssl.config"
    write_ssl_config(path, authority, False)
    good = path.read_text()
    (own_key, _), (_, own_cert) = pem(*certificate("a")), pem(*certificate("b", days=-1))
    key, cert = (part.decode().replace("\n", "\\n") for part in (own_key, own_cert))
    for text in (f"server_key: '{key}' server_cert: '{cert}'", f"server_key: 'junk' server_cert: '{cert}'"):
        path.write_text(text)
        with pytest.raises(ExportError, match="`server_key` and `server_cert` must be PEM"):
            LocalServer(tools, model_name="tools", ssl_config_file=str(path))
    path.write_text(good)
    with LocalServer(tools, model_name="tools", ssl_config_file=str(path)):
        assert "expired" not in capfd.readouterr().err
    key, cert = (part.decode().replace("\n", "\\n") for part in pem(*certificate("localhost", days=-1)))
    path.write_text(f"server_key: '{key}' server_cert: '{cert}'")
    with LocalServer(tools, model_name="tools", ssl_config_file=str(path)):
        assert f"WARNING: the certificate in {path} expired on " in capfd.readouterr().err


def test_health_watches_are_bounded(tools, monkeypatch):
    monkeypatch.setattr(grpc_interceptors, "_MOST_WATCHES", 2)
    with LocalServer(tools, model_name="tools") as server:
        stub = health_pb2_grpc.HealthStub(Calls(server.grpc_port).channel)
        streams = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(2)]
        assert [next(stream).status for stream in streams] == [1, 1]
        too_many = stub.Watch(health_pb2.HealthCheckRequest())
        with pytest.raises(grpc.RpcError) as refusal:
            next(too_many)
        assert refusal.value.code() == code.RESOURCE_EXHAUSTED
        for stream in streams:
            stream.cancel()
        for _ in range(100):
            try:
                assert next(stub.Watch(health_pb2.HealthCheckRequest())).status == 1
                break
            except grpc.RpcError:
                time.sleep(0.02)
        else:
            raise AssertionError("ended watches are still counted")
