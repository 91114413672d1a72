"""Speed of caption generation, compared with a plain Python loop that runs the model on the whole prefix per token.

    python benchmarks/decoding.py [--decoder transformer] [--repeats 7] [--run RUN]

Every round runs everything once; a time is the median over rounds, a ratio the median of the ratios of each round.
Everything after the image encoder is measured.

Without a run, both sides use the same random weights, image tokens and thread settings; the benchmark fails if they
generate different captions. The end token is forbidden, so all captions have the same length.

With the run of a trained captioner, beam search is compared with greedy search on its development images. Captions end
at the end token; a batch is finished when its longest caption is.
"""

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import vl_keras  # noqa: F401  selects Keras 2 before TensorFlow is imported

import tensorflow as tf  # isort: skip
import tf_keras as keras  # isort: skip

from vl_keras.config import ModelConfig, TextConfig
from vl_keras.encoders.image_encoder import build_image_encoder
from vl_keras.models.captioner import build_captioner
from vl_keras.runs.load_run import load_run

REGIONS, FEATURES = 49, 1280  # the grid of MobileNetV2 for an image of 224 x 224
START, FORBIDDEN = 2, (0, 1, 2, 3)  # 3 is the end token
TOKENS, LARGE_BATCH, BEAMS = 20, 64, 5
RUN_BATCHES = 8
LENGTHS = (10, 20, 40)
ONE, ONE_LOOP = "greedy, 1 image", "plain loop, 1 image"
MANY, MANY_LOOP = f"greedy, batch {LARGE_BATCH}", f"plain loop, batch {LARGE_BATCH}"
BEAM = f"beam {BEAMS}, batch {LARGE_BATCH}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--decoder", choices=("transformer", "lstm", "both"), default="both")
    parser.add_argument("--repeats", type=int, default=7, help="number of rounds (at least 5)")
    parser.add_argument("--jit", action="store_true", help="compile our side with XLA")
    parser.add_argument("--run", help="run of a trained captioner, instead of decoders with random weights")
    options = parser.parse_args(arguments)
    decoders = ("transformer", "lstm") if options.decoder == "both" else (options.decoder,)
    print(
        f"TensorFlow {tf.__version__}, {len(tf.config.list_logical_devices('GPU'))} GPUs, "
        f"{tf.config.threading.get_intra_op_parallelism_threads() or 'default'} threads, jit {options.jit}, "
        f"median of {max(options.repeats, 5)}"
    )
    if options.run:
        held = [measure_run(options.run, max(options.repeats, 5), options.jit)]
    else:
        held = [measure(decoder, max(options.repeats, 5), options.jit) for decoder in decoders]
    return 0 if all(held) else 1


def measure(decoder: str, repeats: int, jit: bool) -> bool:
    """Measures one decoder and prints the results; returns whether all targets hold."""
    captioner = _captioner(decoder)
    rng = np.random.default_rng(0)
    one, many = (tf.constant(rng.normal(size=(b, REGIONS, FEATURES)), tf.float32) for b in (1, LARGE_BATCH))

    def ours(
        image_tokens: tf.Tensor, method: str = "greedy", beams: int = 1, length: int = TOKENS
    ) -> Callable[[], np.ndarray]:
        write = tf.function(
            lambda tokens: (
                captioner.generate(
                    {"image_tokens": tokens}, method=method, beam_size=beams, max_length=length, forbidden_ids=FORBIDDEN
                ).tokens
            ),
            jit_compile=jit,
        )
        return lambda: write(image_tokens).numpy()

    # Compared runs are adjacent, so that other load on the machine affects both.
    runs = {
        ONE_LOOP: lambda: plain_loop(captioner.training_model, one, TOKENS),
        ONE: ours(one),
        MANY: ours(many),
        BEAM: ours(many, "beam", BEAMS),
        MANY_LOOP: lambda: plain_loop(captioner.training_model, many, TOKENS),
        **{f"{MANY}, {length} tokens": ours(many, length=length) for length in LENGTHS},
    }
    written = {name: run() for name, run in runs.items()}  # the first round also traces
    for own, loop in ((ONE, ONE_LOOP), (MANY, MANY_LOOP)):
        if not np.array_equal(written[own], written[loop]):
            raise SystemExit(f"{decoder}: {own} and {loop} generated different captions; the comparison is invalid.")
    seconds = _timed(f"{decoder}, {TOKENS} tokens per caption", runs, repeats)

    shortest, longest = (f"{MANY}, {length} tokens" for length in (LENGTHS[0], LENGTHS[-1]))
    per_token = _ratio(seconds, longest, shortest) * LENGTHS[0] / LENGTHS[-1]
    return all(
        [
            _verdict(f"{ONE}: times faster", _ratio(seconds, ONE_LOOP, ONE), 20),
            _verdict(f"{MANY}: times faster than one by one", LARGE_BATCH * _ratio(seconds, ONE_LOOP, MANY), 80),
            _verdict(f"{MANY}: times faster than the loop", _ratio(seconds, MANY_LOOP, MANY), 8),
            _verdict(f"{BEAM} / {MANY}", _ratio(seconds, BEAM, MANY), most=3),
            _verdict(f"cost per token, {LENGTHS[-1]} tokens / {LENGTHS[0]} tokens", per_token, most=1.25),
        ]
    )


def measure_run(folder: str, repeats: int, jit: bool) -> bool:
    """Measures beam search and greedy search with the captioner of a run."""
    config, task, captioner, _ = load_run(folder)
    if not hasattr(captioner, "generate"):
        raise SystemExit(f"`{folder}` is a run of the task {config.task}, whose model does not generate captions.")
    data = task.evaluation_data(captioner, config.data.dev_split, LARGE_BATCH)
    batches = []
    for inputs, _ in itertools.islice(data, RUN_BATCHES):
        inputs = dict(inputs)
        if "image" in inputs:
            inputs["image_tokens"] = captioner.image_encoder(inputs.pop("image"), training=False)["image_tokens"]
        batches.append(inputs)

    def ours(method: str, beams: int) -> Callable[[], list[np.ndarray]]:
        settings = {**task.generation_settings(), "method": method, "beam_size": beams, "num_captions": 1}
        write = tf.function(lambda inputs: captioner.generate(inputs, **settings).tokens, jit_compile=jit)
        return lambda: [write(inputs).numpy() for inputs in batches]

    runs = {MANY: ours("greedy", 1), BEAM: ours("beam", BEAMS)}
    for name, run in runs.items():
        lengths = [(tokens != 0).sum(axis=-1) for tokens in run()]
        longest = np.mean([batch.max() for batch in lengths])
        print(
            f"{name}: {np.concatenate(lengths).mean():.1f} tokens per caption, {longest:.1f} in the longest of a batch"
        )
    seconds = _timed(f"{folder}, {len(batches)} batches", runs, repeats)
    return _verdict(f"{BEAM} / {MANY}", _ratio(seconds, BEAM, MANY), most=3)


def _timed(title: str, runs: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Times the runs: dict of name -> seconds of each round; prints the medians."""
    seconds = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    print(f"\n{title}")
    for name, values in seconds.items():
        print(f"  {name:<32}{1000 * statistics.median(values):10.1f} ms")
    return seconds


def _ratio(seconds: Mapping[str, Sequence[float]], name: str, other: str) -> float:
    return statistics.median(a / b for a, b in zip(seconds[name], seconds[other], strict=True))


def plain_loop(model: keras.Model, image_tokens: tf.Tensor, length: int) -> np.ndarray:
    """Greedy captions `(B, 1, length)`: runs the model on the whole prefix for each token."""
    ids = np.full((len(image_tokens), 1, 1), START, np.int32)
    for _ in range(length):
        logits = model({"image_tokens": image_tokens, "caption_ids": ids}, training=False)[:, :, -1].numpy()
        logits[..., FORBIDDEN] = -np.inf
        ids = np.concatenate([ids, logits.argmax(-1)[..., None].astype(np.int32)], axis=-1)
    return ids[..., 1:]


def _captioner(decoder: str) -> Any:
    keras.utils.set_random_seed(1)
    model = ModelConfig()
    return build_captioner(
        build_image_encoder("MobileNetV2", "none"),
        TextConfig().vocab_size,
        decoder=decoder,
        hidden_dim=model.hidden_dim,
        num_heads=model.num_heads,
        num_layers=model.num_layers if decoder == "transformer" else 1,
        intermediate_dim=model.intermediate_dim if decoder == "transformer" else 512,
        max_length=max(LENGTHS),
        from_image_tokens=True,
    )


def _verdict(name: str, value: float, least: float | None = None, most: float | None = None) -> bool:
    holds = value >= least if most is None else value <= most
    target = f"at least {least}" if most is None else f"at most {most}"
    print(f"  {name:<52}{value:8.2f}   target {target}: {'holds' if holds else 'MISSED'}")
    return holds


if __name__ == "__main__":
    sys.exit(main())
