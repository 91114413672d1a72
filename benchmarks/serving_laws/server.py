"""A model server in a process of its own."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
ORIGINAL = shutil.which("tensorflow_model_server")


@contextlib.contextmanager
def on_cores(cores):
    """What this thread does within, and what it starts, runs on these processors only (Linux)."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Server:
    """The local server, or `tensorflow_model_server`, as a process; a context manager that stops it.

    Attributes:
        grpc_port, rest_port: that it listens on.
        pid: of the process.
    """

    def __init__(self, original=False, model="half", wait_s=900, cores=None, **flags):
        """Returns when the model answers.

        Args:
            original: start `tensorflow_model_server` from the PATH.
            model: its name.
            wait_s: for the model, after which the server's log is raised.
            cores: the processors that it may use, by number; None: those of this process.
            flags: of either server.
        """
        command = [ORIGINAL] if original else [sys.executable, "-m", "export.server"]
        self.grpc_port, self.rest_port = _free_ports()
        settings = {"port": self.grpc_port, "rest_api_port": self.rest_port, "max_num_load_retries": 0, **flags}
        if "model_config_file" not in settings:
            settings["model_name"] = model
        self._log = tempfile.TemporaryFile()
        with on_cores(cores) if cores else contextlib.nullcontext():  # a process may use what its parent may
            self._process = subprocess.Popen(
                [*command, *(f"--{name}={_text(value)}" for name, value in settings.items())],
                cwd=ROOT,
                stdout=self._log,
                stderr=subprocess.STDOUT,
            )
        self.pid = self._process.pid
        self._system = psutil.Process(self.pid)
        self._wait_for(f"http://127.0.0.1:{self.rest_port}/v1/models/{model}", time.monotonic() + wait_s)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.is_alive():
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(60)
        self._process.kill()
        self._process.wait()
        self._log.close()

    def stop(self):
        """Sends SIGTERM; does not wait."""
        self._process.send_signal(signal.SIGTERM)

    def exit_code(self, timeout_s):
        """Waits for the end of the process; None where it does not come."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout_s)

    def is_alive(self):
        return self._process.poll() is None

    def log(self):
        """What it has written so far."""
        self._log.seek(0)
        return self._log.read().decode("utf-8", "replace")

    def megabytes(self):
        """Resident memory."""
        return self._system.memory_info().rss / 2**20

    def cpu_seconds(self):
        """Time of the processor that it has used."""
        times = self._system.cpu_times()
        return times.user + times.system

    def threads(self):
        return self._system.num_threads()

    def forget_peak(self):
        """Lets `peak_megabytes` begin anew (Linux)."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def peak_megabytes(self):
        """Most resident memory since `forget_peak`."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    def _wait_for(self, url, until):
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=10) as answer:
                if b'"AVAILABLE"' in answer.read():
                    return
            if not self.is_alive() or time.monotonic() > until:
                log = self.log()
                self.__exit__()
                raise RuntimeError(f"The server did not start:\n{log}")
            time.sleep(0.1)


def _free_ports():
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _text(value):
    return str(value).lower() if isinstance(value, bool) else value
