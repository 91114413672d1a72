"""Throughput of the server with the batching parameters of `vl-export deploy`, compared with other parameters.

    python benchmarks/batching.py MODEL_FOLDER [--rounds 5]

MODEL_FOLDER contains the versions of an exported captioner, e.g. runs/demo/models/captioner. There is one local server
per set of parameters; 1, 5 and 16 clients send one image per request. The servers take turns in every round; a ratio is
the median over rounds.
"""

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from serving import Server, load, request_of

from export.serving_config import write_serving_config
from export.serving_protos import BatchingParameters, read_text_proto
from vl_keras.data.modalities.golden_images import golden_images

WRITTEN = "as `deploy` writes them"
CLIENTS = (1, 5, 16)
CALLS = 6  # requests of each client in a round
OTHERS = {
    "padded to 1, 4, 16": {"allowed_batch_sizes": (1, 4, 16)},
    "padded to 1, 2, 4, 8, 16": {"allowed_batch_sizes": (1, 2, 4, 8, 16)},
    "at most 8 rows": {"max_batch_size": 8},
    "at most 8 rows, 10 ms": {"max_batch_size": 8, "batch_timeout_micros": 10_000},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("model", type=Path, help="folder with the versions of an exported captioner")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds (at least 5)")
    options = parser.parse_args(arguments)
    request = request_of(golden_images()["landscape.jpg"])
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as servers:
        running = {}
        for name, others in {WRITTEN: {}, **OTHERS}.items():
            config = _config(options.model, Path(folder, str(len(running))), others)
            flags = "--enable_batching", f"--batching_parameters_file={config}"
            server = Server(f"--model_base_path={options.model.resolve()}", *flags)
            running[name] = servers.enter_context(server)
        rates = {(name, clients): [] for clients in CLIENTS for name in running}
        for number in range(max(options.rounds, 5) + 1):
            for name, clients in rates:
                count = CALLS * clients
                seconds = asyncio.run(load(running[name].grpc_port, request, count, clients))
                if number:  # the first round warms up
                    rates[name, clients].append(count / seconds)
    for (name, clients), values in rates.items():
        written = rates[WRITTEN, clients]
        ratio = statistics.median(value / own for value, own in zip(values, written, strict=True))
        print(f"{clients:2} clients, {name:26} {statistics.median(values):6.1f} captions/s  {ratio:.2f}")
    return 0


def _config(model: Path, folder: Path, others: Mapping[str, Any]) -> Path:
    write_serving_config([model], folder)
    path = folder / "batching.config"
    parameters = read_text_proto(path, BatchingParameters())
    for name, value in others.items():
        if isinstance(value, tuple):
            getattr(parameters, name).extend(value)
        else:
            getattr(parameters, name).value = value
    path.write_text(text_format.MessageToString(parameters))
    return path


if __name__ == "__main__":
    sys.exit(main())
