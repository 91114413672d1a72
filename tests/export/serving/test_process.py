"""The server as a process: its flags, its lines, its end."""

import argparse
import signal
import threading
import time

import grpc
import numpy as np
import pytest
import requests
from calls import Calls, Process, predict_request
from serving_models import publish

from export.server.local_server import LocalServer
from export.server.main import main
from export.server.options import IGNORED_FLAGS, ServeOptions, add_serve_arguments


@pytest.fixture(scope="module")
def tools(written, tmp_path_factory):
    base = tmp_path_factory.mktemp("process") / "tools"
    publish(written["tools"], base, 1)
    return base


def test_flags_in_both_forms_sockets_and_a_clean_stop_that_loses_nothing(tools, tmp_path):
    socket = tmp_path / "grpc.sock"
    flags = ["--port=-1", "--rest_api_port", "-1", "--model_name", "tools", f"--model_base_path={tools}"]
    flags += ["--enable_model_warmup", "--enable_batching=false", f"--grpc_socket_path={socket}"]
    flags += ["--max_running_requests=2", "--flush_filesystem_caches=false", "--grpc_max_threads=4"]
    with Process(*flags) as server:
        assert any("ignored: --flush_filesystem_caches --grpc_max_threads" in line for line in server.lines)
        client = Calls(server.ports["grpc"])
        assert client.predict("tools", {"x": np.float32([1])}).outputs["y"].float_val == [2]
        assert requests.get(f"http://localhost:{server.ports['rest']}/v1/models/tools").status_code == 200
        slow = predict_request("tools", {"x": np.float32([1]), "steps": np.int32([800])}, "slow")
        client.predictions.Predict(slow)
        running = [client.predictions.Predict.future(slow, 60) for _ in range(8)]
        rest = []
        body = {"signature_name": "slow", "inputs": {"x": [1], "steps": [800]}}
        url = f"http://localhost:{server.ports['rest']}/v1/models/tools:predict"
        thread = threading.Thread(target=lambda: rest.append(requests.post(url, json=body).status_code))
        thread.start()
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        assert [each.result().outputs["y"].float_val[0] for each in running] == [1] * 8
        thread.join()
        assert rest == [200]
        assert server.process.wait(60) == 0
        assert "Stopped." in server.process.stdout.read()
        logged = server.process.stderr.read()
        assert "Traceback" not in logged
        assert "tensorflow/" not in logged, "TensorFlow's own log is kept quiet"
        assert not [notice for notice in ("cuInit", "MLIR", "absl", "oneDNN") if notice in logged]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_stop_ends_whatever_runs(tools, number):
    """Accepted requests are finished, except one that outlasts the grace."""
    flags = ["--port=-1", "--model_name=tools", f"--model_base_path={tools}", "--stop_grace_seconds=2"]
    with Process(*flags) as server:
        client = Calls(server.ports["grpc"])
        short, long = (
            predict_request("tools", {"x": np.float32([1]), "steps": np.int32([steps])}, "slow")
            for steps in (400, 2_000_000_000 if number == signal.SIGTERM else 400)
        )
        client.predictions.Predict(short)
        running = [client.predictions.Predict.future(each, 60) for each in (short, long)]
        time.sleep(0.3)
        server.process.send_signal(number)
        assert running[0].result().outputs["y"].float_val[0] == 1
        assert server.process.wait(30) == (1 if number == signal.SIGTERM else 0)
        assert "Stopped" in server.process.stdout.read()


def test_port_zero_is_no_port(tools):
    with LocalServer(tools, model_name="tools", port=0) as server:
        assert server.grpc_port is None
        assert requests.get(f"http://localhost:{server.rest_port}/v1/models/tools").status_code == 200
        assert not any("gRPC" in line for line in server.lines)
    with LocalServer(tools, model_name="tools", rest_api_port=0) as server:
        assert server.rest_port is None
        assert Calls(server.grpc_port).predict("tools", {"x": np.float32([1])}).outputs["y"].float_val == [2]


@pytest.mark.parametrize(
    "arguments, code, part",
    [
        (["--no_such_flag=1"], 2, "--no_such_flag"),
        (["--enable_batching=perhaps"], 2, "must be true or false"),
        (["--port=x", "--model_base_path=/m"], 2, "invalid int value"),
        ([], 1, "Give --model_base_path or --model_config_file"),
        (["--model_base_path=/m", "--batching_parameters_file=x"], 1, "without --enable_batching"),
        (["--model_base_path=/m", "--port=8500", "--rest_api_port=8500"], 1, "must differ"),
        (["--model_base_path=/m", "--port=0"], 1, "nothing to listen on"),
        (["--model_base_path=/m", "--port=-2"], 1, "or be -1; got -2"),
    ],
)
def test_what_is_wrong_with_flags_is_said(capsys, arguments, code, part):
    try:
        assert main(arguments) == code
    except SystemExit as stop:
        assert stop.code == code
    assert part in capsys.readouterr().err


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("TensorFlow ModelServer: ")


def test_both_forms_of_flags_give_the_same_options():
    def parse(*arguments):
        parser = argparse.ArgumentParser()
        add_serve_arguments(parser)
        return ServeOptions.from_namespace(parser.parse_args(arguments))

    one = parse("--model_base_path=/m", "--port=7", "--enable_batching", "--enable_model_warmup=false")
    other = parse("--model_base_path", "/m", "--port", "7", "--enable_batching=true", "--enable_model_warmup", "false")
    assert one == other
    assert one.enable_batching and not one.enable_model_warmup and one.rest_api_port == 0
    assert parse("--model_base_path=/m", "--rest_api_timeout_in_ms=0").rest_api_timeout_in_ms == 0


def test_no_flag_is_both_known_and_ignored():
    assert not set(IGNORED_FLAGS) & set(ServeOptions.__dataclass_fields__)


def test_a_stop_cancels_no_call_of_clients_that_go_on(tools):
    codes = []

    def ask(port):
        client = Calls(port)
        while True:
            try:
                client.predict("tools", {"x": np.float32([1])})
                codes.append("OK")
            except grpc.RpcError as error:
                codes.append(error.code().name)
                return

    with Process("--port=-1", "--model_name=tools", f"--model_base_path={tools}") as server:
        clients = [threading.Thread(target=ask, args=(server.ports["grpc"],)) for _ in range(8)]
        for client in clients:
            client.start()
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        for client in clients:
            client.join()
        assert server.process.wait(60) == 0
    assert set(codes) == {"OK", "UNAVAILABLE"}
