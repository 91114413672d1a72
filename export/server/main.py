"""Runs the server until it is stopped; `vl-export serve` and `python -m export.server`."""

import argparse
import asyncio
import gc
import importlib
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from typing import Any

from export.errors import ExportError
from export.server.log import LogHandler
from export.server.options import ServeOptions, add_serve_arguments
from vl_keras.cli.errors import run_command

_NOTICES = (b"MLIR V1 optimization pass is not enabled", b"before absl::InitializeLog() is called")

_LAST_S = 5  # after the grace: to reject requests, to unload models


def serve(options: argparse.Namespace | ServeOptions) -> int:
    """Serves until SIGTERM or SIGINT.

    Args:
        options: `ServeOptions`, or the parsed options of a parser with `add_serve_arguments`.

    Returns:
        The exit status: 0 after a clean stop.

    Raises:
        ExportError: an option is invalid or the server cannot start.
    """
    if not isinstance(options, ServeOptions):
        ignored = dict.fromkeys(options.ignored_flags)
        options = ServeOptions.from_namespace(options)
        if ignored:
            _print(f"These flags have no effect here and are ignored: {' '.join(ignored)}")
    import_tensorflow()
    return asyncio.run(_serve(options))


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m export.server`."""
    parser = argparse.ArgumentParser(prog="export.server", description="Serves SavedModels like TensorFlow Serving.")
    add_serve_arguments(parser)
    options = parser.parse_args(arguments)
    return run_command("export.server", lambda: serve(options), failed=1, errors=ExportError)


def import_tensorflow() -> None:
    """Imports TensorFlow without Keras and logs errors only.

    A server does not need Keras, which takes two fifths of the import time. A `TF_CPP_MIN_LOG_LEVEL` that the user has
    set is kept.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    unwanted = [name for name in ("keras.src.optimizers", "tf_keras.src.optimizers") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(unwanted))  # type: ignore[arg-type]  # TensorFlow works without them
    try:
        importlib.import_module("tensorflow")
    finally:
        for name in unwanted:
            sys.modules.pop(name, None)


def _hide_session_notice(config: Any) -> None:
    """Runs a first session with standard error set aside.

    At the first run of a session, TensorFlow reports on standard error that an optimization pass is off, at every log
    level. All other lines are printed afterwards.

    Args:
        config: that of all later sessions too, because the first session sizes the thread pools of the process.
    """
    import tensorflow as tf

    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            with tf.Graph().as_default(), tf.compat.v1.Session(config=config) as session:
                session.run(tf.constant(0))
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        log.seek(0)
        for line in log:
            if not any(notice in line for notice in _NOTICES):
                os.write(2, line)


async def _serve(options: ServeOptions) -> int:
    from export.server.core import session_config
    from export.server.model_server import ModelServer  # imports TensorFlow

    _hide_session_notice(session_config(options))
    logging.basicConfig(level=logging.INFO, handlers=[LogHandler(sys.stderr)])
    # Freezing keeps the modules of TensorFlow out of the garbage collections after an unload; the short switch
    # interval lets requests interrupt a thread that loads a model.
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(0.001)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores it
            loop.add_signal_handler(number, stopping.set)
    server = ModelServer(options, _print)
    started = asyncio.create_task(server.start())
    stopped = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait((started, stopped), return_when=asyncio.FIRST_COMPLETED)
        if started.done():
            await started
            await stopped
            _print("Stopping: finishing the accepted requests.")
    finally:
        started.cancel()
        stopped.cancel()
        last = threading.Timer(max(options.stop_grace_seconds, 0) + _LAST_S, _end_at_once)
        last.daemon = True
        last.start()
        await server.stop()
        last.cancel()
    _print("Stopped.")
    return 0


def _end_at_once() -> None:
    _print("Stopped: a run or a load did not end within --stop_grace_seconds.")
    os._exit(1)


def _print(line: str) -> None:
    print(line, flush=True)
