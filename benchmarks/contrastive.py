"""Memory of the chunked contrastive loss for a large batch, compared with the full similarity matrix.

    python benchmarks/contrastive.py [--loss info_nce] [--batch 4096] [--width 512] [--chunk 64] [--repeats 3]

There are three variants, each in its own process: our loss in chunks; our loss without chunks; and for InfoNCE a plain
implementation, one matrix of logits with the softmax cross-entropy of TensorFlow over rows and columns. The ratio
compares the first with the last. All variants compute the loss and its gradients for images, texts, scale and bias in a
`tf.function`, with one text per image. The memory of a variant is the growth of the peak resident set (`ru_maxrss`) of
the process during the step, measured after importing TensorFlow, creating the inputs and running the step on a small
batch, so libraries and graphs do not count. glibc returns large freed blocks at once, so memory that malloc caches does
not count. The benchmark fails if loss or gradients differ between the variants. All numbers are medians over the
repeats.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

CHUNKED, WHOLE, PLAIN = "in chunks", "whole", "plain"
SMALL = 256  # batch size of the warm-up step
RETURN_FREED = {"MALLOC_MMAP_THRESHOLD_": "1000000"}
MIB = 1024.0  # KiB, the unit of `ru_maxrss` on Linux


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--loss", choices=("info_nce", "sigmoid_pairwise", "hardest_triplet"), default="info_nce")
    parser.add_argument("--batch", type=int, default=4096, help="images (and texts) per batch")
    parser.add_argument("--width", type=int, default=512, help="size of the vectors")
    parser.add_argument("--chunk", type=int, default=64, help="texts per chunk")
    parser.add_argument("--repeats", type=int, default=3, help="processes per variant")
    parser.add_argument("--side", help=argparse.SUPPRESS)  # internal: the variant that this process runs
    parser.add_argument("--out", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.side:
        return run_side(options)

    sides = [CHUNKED, WHOLE, *([PLAIN] if options.loss == "info_nce" else [])]
    figures = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as folder:
        files = {side: Path(folder) / f"{place}.npz" for place, side in enumerate(sides)}
        for _ in range(options.repeats):
            for side in sides:
                command = [sys.executable, __file__, *(sys.argv[1:] if arguments is None else arguments)]
                command += ["--side", side, "--out", str(files[side])]
                environment = {**os.environ, **RETURN_FREED}
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
                figures[side].append(json.loads(done.stdout.splitlines()[-1]))
        results = {side: dict(np.load(file)) for side, file in files.items()}
    check_same(results)

    print(
        f"{options.loss}, batch {options.batch}, width {options.width}, chunks of {options.chunk} texts, "
        f"float32 on CPU, median of {options.repeats} processes"
    )
    print(f"  {'variant':<14}{'memory':>12}{'time':>12}{'loss':>14}")
    for side, values in figures.items():
        memory, seconds = (statistics.median(value[name] for value in values) for name in ("memory", "seconds"))
        print(f"  {side:<14}{memory:>8.1f} MiB{1000 * seconds:>9.0f} ms{float(results[side]['loss']):>14.6f}")

    def ratio(side: str, name: str) -> float:
        return statistics.median(a[name] / b[name] for a, b in zip(figures[side], figures[CHUNKED], strict=True))

    against = sides[-1]
    print(f"  {'time ' + CHUNKED + ' / ' + against:<52}{1 / ratio(against, 'seconds'):8.2f}")
    value = ratio(against, "memory")
    print(f"  {'memory ' + against + ' / ' + CHUNKED:<52}{value:8.2f}   target at least 5: {_holds(value >= 5)}")
    return 0 if value >= 5 else 1


def check_same(results: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Raises `SystemExit` if the variants give different losses or gradients."""
    expected = results[CHUNKED]
    for side, values in results.items():
        for name, value in values.items():
            difference = np.abs(value - expected[name]).max() / max(np.abs(expected[name]).max(), 1e-12)
            if difference > 1e-4:
                raise SystemExit(
                    f"{side} and {CHUNKED} differ in {name} by {difference:.1e}; the comparison is invalid."
                )


def run_side(options: argparse.Namespace) -> int:
    """Measures one variant: prints the results as JSON and writes loss and gradients to `--out`."""
    import vl_keras  # noqa: F401  selects Keras 2 before TensorFlow is imported

    # Only the measured processes import TensorFlow: a process inherits `ru_maxrss` from its parent.
    import tensorflow as tf  # isort: skip
    from vl_keras.losses.contrastive_losses import CONTRASTIVE_LOSSES

    tf.config.set_visible_devices([], "GPU")
    loss = CONTRASTIVE_LOSSES[options.loss]

    def value(image: Any, text: Any, log_scale: Any, bias: Any) -> Any:
        if options.side == PLAIN:
            return plain_info_nce(tf, image, text, log_scale)
        owner = tf.range(tf.shape(image)[0])
        return loss(image, text, owner, log_scale, bias, chunk_size=options.chunk if options.side == CHUNKED else None)

    @tf.function
    def step(*inputs: Any) -> tuple[Any, Sequence[Any]]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            result = value(*inputs)
        return result, tape.gradient(result, inputs, unconnected_gradients="zero")

    rng = np.random.default_rng(0)
    image = rng.normal(size=(options.batch, options.width)).astype(np.float32)
    text = image + 4 * rng.normal(size=image.shape).astype(np.float32)  # the cosine of a pair is about 0.24
    image, text = (tf.constant(v / np.linalg.norm(v, axis=1, keepdims=True)) for v in (image, text))
    log_scale, bias = tf.constant(np.log(20.0), tf.float32), tf.constant(-10.0)
    step(image[:SMALL], text[:SMALL], log_scale, bias)
    step.get_concrete_function(image, text, log_scale, bias)  # traces without running
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    result, gradients = step(image, text, log_scale, bias)
    seconds = time.perf_counter() - start
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / MIB
    names = ("image", "text", "log_scale", "bias")
    np.savez(options.out, loss=result, **dict(zip(names, gradients, strict=True)))
    print(json.dumps({"memory": memory, "seconds": seconds}))
    return 0


def plain_info_nce(tf: Any, image: Any, text: Any, log_scale: Any) -> Any:
    """The pseudocode of Radford et al., 2021, figure 3."""
    logits = tf.exp(log_scale) * tf.matmul(image, text, transpose_b=True)
    labels = tf.range(tf.shape(logits)[0])
    sides = (tf.nn.sparse_softmax_cross_entropy_with_logits(labels, side) for side in (logits, tf.transpose(logits)))
    return sum(tf.reduce_mean(side) for side in sides) / 2


def _holds(yes: bool) -> str:
    return "holds" if yes else "MISSED"


if __name__ == "__main__":
    sys.exit(main())
