"""Waits for the workers that TF_CONFIG names, and says for whom."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator

from vl_keras.errors import RunError
from vl_keras.progress import say

JOIN_SECONDS = 600.0  # until workers that have not come are given up
_LOOK_SECONDS = 1.0
_SAY_SECONDS = 30.0
_JOBS = ("chief", "worker")  # that train together; an evaluator does not


def described_workers(text: str) -> tuple[str, dict[str, str]]:
    """What a TF_CONFIG says.

    Args:
        text: its JSON.

    Returns:
        The name of this worker, e.g. `worker 0`, and dict of name -> `host:port` of all workers. Empty where it is
        malformed, which TensorFlow reports.
    """
    try:
        found = json.loads(text or "{}")
        own = f"{found['task']['type']} {int(found['task']['index'])}"
        cluster = [(kind, addresses) for kind, addresses in found["cluster"].items() if kind in _JOBS]
        workers = {f"{kind} {index}": str(each) for kind, all in cluster for index, each in enumerate(all)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", {}
    return own, workers


def await_workers(limit: float | None = None) -> None:
    """Waits until every other worker of TF_CONFIG answers at its address, and answers at the own one meanwhile.

    TensorFlow's own wait is silent, and no signal reaches Python during it. This one says at once for whom it waits,
    and again every half minute.

    Args:
        limit: seconds; `JOIN_SECONDS` by default.

    Raises:
        RunError: a worker has not come within the limit, or the own port is taken.
    """
    limit = JOIN_SECONDS if limit is None else limit
    own, workers = described_workers(os.environ.get("TF_CONFIG", ""))
    if own not in workers or len(workers) < 2:
        return
    start, said = time.monotonic(), -_SAY_SECONDS
    with _answering(workers.pop(own)):
        while missing := {name: address for name, address in workers.items() if not _answers(address)}:
            waited = time.monotonic() - start
            names = ", ".join(f"{name} ({address})" for name, address in missing.items())
            if waited > limit:
                raise RunError(
                    f"{names} of TF_CONFIG did not come within {limit:.0f} s. Start every worker with the same cluster "
                    "in TF_CONFIG, its own index, and addresses that the others reach."
                )
            if waited - said >= _SAY_SECONDS:
                said = waited
                say(f"{own} waits for {names}; it gives up after {limit:.0f} s.")
            time.sleep(_LOOK_SECONDS)


@contextlib.contextmanager
def _answering(address: str) -> Iterator[None]:
    """Inside, a thread accepts connections at the own port, as TensorFlow's server will."""
    try:
        server = socket.create_server(("", int(address.rpartition(":")[2])), backlog=128)
    except ValueError:  # TensorFlow reports the address
        yield
        return
    except OSError as error:
        raise RunError(f"The own address {address} in TF_CONFIG cannot be used: {error.strerror}.") from error
    done = threading.Event()
    server.settimeout(0.2)

    def accept() -> None:
        while not done.is_set():
            with contextlib.suppress(OSError):
                server.accept()[0].close()

    thread = threading.Thread(target=accept, name="workers", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        server.close()


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_LOOK_SECONDS):
            return True
    except (OSError, ValueError, OverflowError):
        return False
