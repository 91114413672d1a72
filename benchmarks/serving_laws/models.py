"""Small SavedModels whose outputs identify the version, published like an export."""

import hashlib
import json
import shutil
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.python.data.experimental.ops import testing
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

STEP = 1000  # difference between the outputs of two versions
_MARK = 123456.75  # placeholder in the graph for the offset of the version
_MOST_MS = 2000


class _Half(tf.Module):
    def __init__(self, words: str) -> None:
        self.weights = tf.Variable(tf.random.stateless_normal([64, 64], [1, 2]) / 64)
        self.runs = tf.Variable(0)
        file = tf.lookup.TextFileInitializer(
            words, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
        )
        self.words = tf.lookup.StaticHashTable(file, -1)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def half(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """`x / 2` plus the offset of the version."""
        return {"y": x / 2 + tf.constant(_MARK)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x"), tf.TensorSpec([None], tf.int64, "ms")])
    def timed(self, x: tf.Tensor, ms: tf.Tensor) -> dict[str, tf.Tensor]:
        """Takes `ms` milliseconds without CPU, like work on an accelerator."""
        count = self.runs.assign_add(1)
        pause = 500 * tf.reduce_max(
            tf.minimum(ms, _MOST_MS)
        )  # microseconds; the dataset sleeps before and after the row
        rows = tf.data.Dataset.from_tensors(x).apply(testing.sleep(pause))
        with tf.control_dependencies([count]):
            return {"y": rows.get_single_element() / 2}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x"), tf.TensorSpec([None], tf.int64, "ms")])
    def busy(self, x: tf.Tensor, ms: tf.Tensor) -> dict[str, tf.Tensor]:
        """Keeps one CPU busy for about `ms` milliseconds."""
        steps = tf.minimum(tf.reduce_max(ms), _MOST_MS) * 50
        _, left = tf.while_loop(
            lambda i, _: i < steps,
            lambda i, m: (i + 1, m @ self.weights),
            (tf.constant(0, tf.int64), self.weights),
            parallel_iterations=1,
        )
        return {"y": x / 2 + 0 * left[0, 0]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def count(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """The number of runs of `timed`."""
        return {"y": 0 * x + tf.cast(self.runs, tf.float32)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def look_up(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Line numbers of words in an asset file."""
        return {"number": self.words.lookup(text)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def classify(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores `x` and `-x` of serialized examples."""
        x = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([1], tf.float32, [0.0])})["x"]
        return {"scores": tf.concat([x, -x], 1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def regress(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """`x` of serialized examples."""
        return {"outputs": tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([], tf.float32, 0.0)})["x"]}


def write_half(folder: Path) -> None:
    """Writes the template for `publish`: y = x / 2 + `STEP` · version."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    words = folder.parent / "words.txt"
    words.write_text("one\ntwo\nthree\n")
    module = _Half(str(words))
    names = "half timed busy count look_up classify regress".split()
    signatures = {name: getattr(module, name) for name in names}
    for dtype in ("float32", "float64", "int32", "int64", "uint8", "bool", "string"):
        echo = tf.function(lambda x: {"y": tf.identity(x)}, input_signature=[tf.TensorSpec(None, dtype, "x")])
        setattr(module, f"echo_{dtype}", echo)
        signatures[f"echo_{dtype}"] = echo
    tf.saved_model.save(module, str(folder), {"serving_default": module.half, **signatures})
    warm_up = folder / "assets.extra" / "tf_serving_warmup_requests"
    warm_up.parent.mkdir()
    with tf.io.TFRecordWriter(str(warm_up)) as writer:
        for signature, more in (("serving_default", {}), ("timed", {"ms": [0]}), ("busy", {"ms": [1]})):
            writer.write(_log(signature, more).SerializeToString())


def prepare(folder: Path, captioner: Path | None = None) -> dict[str, Path]:
    """Publishes version 1 of the model `half`; with a captioner, also writes a config file for both models.

    Args:
        folder: folder for the models; may contain `template` from an earlier call.
        captioner: folder with the versions of an exported captioner, or None.

    Returns:
        Flags for the server.
    """
    if not (folder / "template").is_dir():
        write_half(folder / "template")
    publish(folder / "template", folder / "half", 1)
    if captioner is None:
        return {"model_base_path": folder / "half"}
    entries = "".join(
        f"config {{ name: '{name}' base_path: '{path}' model_platform: 'tensorflow' }} "
        for name, path in (("half", folder / "half"), ("captioner", captioner.resolve()))
    )
    (folder / "models.config").write_text(f"model_config_list {{ {entries} }}")
    return {"model_config_file": folder / "models.config"}


def publish(template: Path, base: Path, version: int, damage: Callable[[Path], object] | None = None) -> None:
    """Publishes a version of a template atomically.

    Args:
        template: folder written by `write_half`.
        base: folder of the model.
        version: number of the version; below 8000, so that float32 represents its outputs exactly.
        damage: called with the folder before it is published.
    """
    base.mkdir(parents=True, exist_ok=True)
    aside = base / f".aside-{version}"
    shutil.copytree(template, aside)
    graph = aside / "saved_model.pb"
    content = graph.read_bytes()
    mark = struct.pack("<f", _MARK)
    if content.count(mark) != 1:
        raise RuntimeError(f"The placeholder occurs {content.count(mark)} times in {graph}; expected once.")
    graph.write_bytes(content.replace(mark, struct.pack("<f", STEP * version)))
    files = {str(path.relative_to(aside)): path for path in sorted(aside.rglob("*")) if path.is_file()}
    sums = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    (aside / "manifest.json").write_text(json.dumps({"version": version, "files": sums}))
    if damage is not None:
        damage(aside)
    aside.rename(base / str(version))


def version_of(x: float, y: float) -> int | None:
    """The version that outputs `y` for `x` (0 <= x < 1000); None if there is none."""
    version, rest = divmod(y - x / 2, STEP)
    return int(version) if rest == 0 else None


def _log(signature: str, more: Mapping[str, Any]) -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(predict_request("half", signature, x=[1.0], **more))
    return log


def predict_request(model: str, signature: str = "", **inputs: Any) -> predict_pb2.PredictRequest:
    """A `PredictRequest`; lists become float32, int64 or string tensors, depending on their items."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    kinds = {float: tf.float32, int: tf.int64, bytes: tf.string}
    for alias, values in inputs.items():
        proto = tf.make_tensor_proto(values, kinds[type(values[0])]) if isinstance(values, list) else values
        request.inputs[alias].CopyFrom(proto)
    return request
