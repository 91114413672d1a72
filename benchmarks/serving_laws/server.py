"""A model server in a separate process."""

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
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import psutil

ROOT = Path(__file__).resolve().parents[2]
ORIGINAL = shutil.which("tensorflow_model_server")


@contextlib.contextmanager
def on_cores(cores: Iterable[int]) -> Iterator[None]:
    """Context in which this thread and its new processes use only these CPUs (Linux)."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Server:
    """The local server or `tensorflow_model_server` as a process. A context manager that stops it.

    Attributes:
        grpc_port, rest_port: the ports it listens on.
        pid: process id.
    """

    def __init__(
        self,
        original: bool = False,
        model: str = "half",
        wait_s: float = 900,
        cores: Iterable[int] | None = None,
        **flags: Any,
    ) -> None:
        """Starts the server; returns when the model is available.

        Args:
            original: start `tensorflow_model_server` from the PATH.
            model: name of the model.
            wait_s: time limit for the model; then an error with the log of the server is raised.
            cores: numbers of the CPUs that the server may use; None: those of this process.
            flags: flags of the server.
        """
        command = [ORIGINAL] if original else [sys.executable, "-m", "export.server"]
        self.grpc_port, self.rest_port = _free_ports()
        settings = {"port": self.grpc_port, "rest_api_port": self.rest_port, "max_num_load_retries": 0, **flags}
        if "model_config_file" not in settings:
            settings["model_name"] = model
        self._log = tempfile.TemporaryFile()
        with on_cores(cores) if cores else contextlib.nullcontext():  # processes inherit the CPUs of their parent
            self._process = subprocess.Popen(
                [*command, *(f"--{name}={_text(value)}" for name, value in settings.items())],
                cwd=ROOT,
                stdout=self._log,
                stderr=subprocess.STDOUT,
            )
        self.pid = self._process.pid
        self._system = psutil.Process(self.pid)
        self._wait_for(f"http://127.0.0.1:{self.rest_port}/v1/models/{model}", time.monotonic() + wait_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_alive():
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(60)
        self._process.kill()
        self._process.wait()
        self._log.close()

    def stop(self) -> None:
        """Sends SIGTERM without waiting."""
        self._process.send_signal(signal.SIGTERM)

    def exit_code(self, timeout_s: float) -> int | None:
        """Waits for the end of the process; None if it does not end."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout_s)

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def log(self) -> str:
        """The output of the server so far."""
        self._log.seek(0)
        return self._log.read().decode("utf-8", "replace")

    def megabytes(self) -> float:
        """Resident memory in MiB."""
        return self._system.memory_info().rss / 2**20

    def cpu_seconds(self) -> float:
        """CPU time used so far."""
        times = self._system.cpu_times()
        return times.user + times.system

    def threads(self) -> int:
        """Number of threads of the process."""
        return self._system.num_threads()

    def forget_peak(self) -> None:
        """Resets `peak_megabytes` (Linux)."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def peak_megabytes(self) -> float:
        """Peak resident memory in MiB since `forget_peak`."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    def _wait_for(self, url: str, until: float) -> None:
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=10) as answer:
                if b'"AVAILABLE"' in answer.read():
                    return
            if not self.is_alive() or time.monotonic() > until:
                log = self.log()
                self.__exit__()
                raise RuntimeError(f"The server did not start:\n{log}")
            time.sleep(0.1)


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _text(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
