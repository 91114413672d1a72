"""The cost of ranking captions with a memory: beam search with `generation.memory`, compared with none.

    python benchmarks/consensus.py RUN MEMORY [--set data.…=value] [--repeats 7]

RUN is a trained captioner, MEMORY a folder written by `vl-keras make-memory`. Every round runs both once; a time is the
median over rounds, a ratio the median of the ratios of each round. Images are encoded beforehand.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import vl_keras  # noqa: F401  selects Keras 2 before TensorFlow is imported

import tensorflow as tf  # isort: skip

from vl_keras.runs.load_run import load_run

BATCHES, BEAMS = (1, 64), 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("run")
    parser.add_argument("memory")
    parser.add_argument("--set", dest="overrides", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--repeats", type=int, default=7, help="number of rounds (at least 5)")
    options = parser.parse_args(arguments)
    beam = [f"generation.beam_size={BEAMS}", "generation.method=beam", f"generation.memory={options.memory}"]
    config, task, captioner, _ = load_run(options.run, overrides=[*options.overrides, *beam])
    settings = task.generation_settings()
    ranking = task.prepare(captioner)
    for size in BATCHES:
        inputs, _ = next(iter(task.evaluation_data(captioner, config.data.dev_split, size)))
        inputs = dict(inputs)
        if "image" in inputs:
            inputs["image_tokens"] = captioner.image_encoder(inputs.pop("image"), training=False)["image_tokens"]
        writers = [_writer(model, inputs, settings) for model in (captioner, ranking)]
        seconds = [[], []]
        for number in range(max(options.repeats, 5) + 1):
            for writer, known in zip(writers, seconds, strict=True):
                start = time.perf_counter()
                writer()
                if number:  # the first round also traces
                    known.append(time.perf_counter() - start)
        plain, ranked = map(statistics.median, seconds)
        ratio = statistics.median(with_it / without for without, with_it in zip(*seconds, strict=True))
        print(
            f"beam {BEAMS}, batch {size}: {1000 * plain:.1f} ms, with the memory {1000 * ranked:.1f} ms: "
            f"{ratio:.2f} times as long, {1000 * (ranked - plain) / size:.1f} ms more per image"
        )


def _writer(captioner: Any, inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> Callable[[], Any]:
    write = tf.function(lambda inputs: captioner.generate(inputs, **settings).tokens)
    return lambda: write(inputs).numpy()


if __name__ == "__main__":
    sys.exit(main())
