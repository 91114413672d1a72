"""Small SavedModels whose answers tell which version gave them, published as an exporter does."""

import hashlib
import json
import shutil
import struct

import tensorflow as tf
from tensorflow.python.data.experimental.ops import testing
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

STEP = 1000  # between the answers of two versions
_MARK = 123456.75  # stands in the graph where the version's own number belongs
_MOST_MS = 2000


class _Half(tf.Module):
    def __init__(self, words):
        self.weights = tf.Variable(tf.random.stateless_normal([64, 64], [1, 2]) / 64)
        self.runs = tf.Variable(0)
        file = tf.lookup.TextFileInitializer(
            words, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
        )
        self.words = tf.lookup.StaticHashTable(file, -1)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def half(self, x):
        return {"y": x / 2 + tf.constant(_MARK)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x"), tf.TensorSpec([None], tf.int64, "ms")])
    def timed(self, x, ms):
        """Takes `ms` milliseconds and no processor, as work on an accelerator does."""
        count = self.runs.assign_add(1)
        pause = 500 * tf.reduce_max(tf.minimum(ms, _MOST_MS))  # microseconds; slept before the row and after it
        rows = tf.data.Dataset.from_tensors(x).apply(testing.sleep(pause))
        with tf.control_dependencies([count]):
            return {"y": rows.get_single_element() / 2}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x"), tf.TensorSpec([None], tf.int64, "ms")])
    def busy(self, x, ms):
        """Keeps one processor busy for about as long."""
        steps = tf.minimum(tf.reduce_max(ms), _MOST_MS) * 50
        _, left = tf.while_loop(
            lambda i, _: i < steps,
            lambda i, m: (i + 1, m @ self.weights),
            (tf.constant(0, tf.int64), self.weights),
            parallel_iterations=1,
        )
        return {"y": x / 2 + 0 * left[0, 0]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def count(self, x):
        """How often `timed` has run."""
        return {"y": 0 * x + tf.cast(self.runs, tf.float32)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def look_up(self, text):
        return {"number": self.words.lookup(text)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def classify(self, inputs):
        x = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([1], tf.float32, [0.0])})["x"]
        return {"scores": tf.concat([x, -x], 1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def regress(self, inputs):
        return {"outputs": tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([], tf.float32, 0.0)})["x"]}


def write_half(folder):
    """Writes what `publish` makes versions of: y = x / 2 + `STEP` · version."""
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


def prepare(folder, captioner=None):
    """Makes version 1 of the model `half` in a folder, and a config file of it and, where given, of a captioner.

    Args:
        folder: for the models; may hold `template`, written before.
        captioner: folder of an exported captioner's versions, or None.

    Returns:
        dict of the server's flags.
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


def publish(template, base, version, damage=None):
    """Makes a version of a template in `base`, in one step.

    Args:
        template: folder that `write_half` wrote.
        base: folder of the model.
        version: its number; below 8000, so that float32 holds its answers.
        damage: called with the folder before it is published.
    """
    base.mkdir(parents=True, exist_ok=True)
    aside = base / f".aside-{version}"
    shutil.copytree(template, aside)
    graph = aside / "saved_model.pb"
    content = graph.read_bytes()
    mark = struct.pack("<f", _MARK)
    if content.count(mark) != 1:
        raise RuntimeError(f"The mark stands {content.count(mark)} times in {graph}.")
    graph.write_bytes(content.replace(mark, struct.pack("<f", STEP * version)))
    files = {str(path.relative_to(aside)): path for path in sorted(aside.rglob("*")) if path.is_file()}
    sums = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    (aside / "manifest.json").write_text(json.dumps({"version": version, "files": sums}))
    if damage is not None:
        damage(aside)
    aside.rename(base / str(version))


def version_of(x, y):
    """Which version gave `y` for `x` (0 <= x < 1000); None where none can have."""
    version, rest = divmod(y - x / 2, STEP)
    return int(version) if rest == 0 else None


def _log(signature, more):
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(predict_request("half", signature, x=[1.0], **more))
    return log


def predict_request(model, signature="", **inputs):
    """`PredictRequest`; lists become float32, int64 or string by what they hold."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    kinds = {float: tf.float32, int: tf.int64, bytes: tf.string}
    for alias, values in inputs.items():
        proto = tf.make_tensor_proto(values, kinds[type(values[0])]) if isinstance(values, list) else values
        request.inputs[alias].CopyFrom(proto)
    return request
