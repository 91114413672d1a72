"""`vl-export serve`: parse, serve, stop cleanly."""

import argparse
import asyncio
import gc
import importlib
import logging
import os
import signal
import sys

from export.errors import ExportError
from export.server.options import ServeOptions, add_serve_arguments

__all__ = ["add_serve_arguments", "main", "serve"]


def serve(options):
    """Serves until SIGTERM or SIGINT.

    Args:
        options: what a parser with `add_serve_arguments` has parsed, or `ServeOptions`.

    Returns:
        The exit code: 0 after a clean stop, 1 where the server could not start.
    """
    ignored = getattr(options, "ignored_flags", [])
    try:
        if not isinstance(options, ServeOptions):
            options = ServeOptions.from_namespace(options)
        if ignored:
            _say(f"Of no meaning here, and ignored: {' '.join(dict.fromkeys(ignored))}")
        import_tensorflow()
        return asyncio.run(_serve(options))
    except ExportError as error:
        print(error, file=sys.stderr)
        return 1


def main(arguments=None):
    """`python -m export.server`."""
    parser = argparse.ArgumentParser(prog="export.server", description="Serves SavedModels as TensorFlow Serving does.")
    add_serve_arguments(parser)
    return serve(parser.parse_args(arguments))


def import_tensorflow():
    """Imports TensorFlow without Keras, which a server has no use for, and keeps its log to errors.

    Keras is two fifths of the time that the import takes. What the user has set of `TF_CPP_MIN_LOG_LEVEL` stays.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    unwanted = [name for name in ("keras.src.optimizers", "tf_keras.src.optimizers") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(unwanted))  # TensorFlow takes their absence
    try:
        importlib.import_module("tensorflow")
    finally:
        for name in unwanted:
            sys.modules.pop(name, None)


async def _serve(options):
    from export.server.model_server import ModelServer  # imports TensorFlow

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    # Collecting cycles after an unload must not look through all of TensorFlow's modules each time, and a thread that
    # loads must give way to requests quickly.
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(0.001)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    server = ModelServer(options, _say)
    started = asyncio.create_task(server.start())
    stopped = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait((started, stopped), return_when=asyncio.FIRST_COMPLETED)
        if started.done():
            await started
            await stopped
            _say("Stopping: what was accepted is answered.")
    finally:
        started.cancel()
        stopped.cancel()
        await server.stop()
    _say("Stopped.")
    return 0


def _say(line):
    print(line, flush=True)
