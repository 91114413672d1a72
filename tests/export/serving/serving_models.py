"""SavedModels that the server's tests serve, written by TensorFlow 1's builder and by TensorFlow 2."""

import shutil

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

v1 = tf.compat.v1
PREDICT, CLASSIFY, REGRESS = (f"tensorflow/serving/{method}" for method in ("predict", "classify", "regress"))


def write_half_plus(folder, bias=2.0):
    """TensorFlow 1: y = x / 2 + `bias`; predict, classify and regress signatures, and some that cannot be used so."""
    graph = tf.Graph()
    with graph.as_default(), v1.Session() as session:
        a = v1.get_variable("a", initializer=np.float32(0.5), use_resource=False)
        b = v1.get_variable("b", initializer=np.float32(bias), use_resource=False)
        serialized = v1.placeholder(tf.string, name="tf_example")
        features = v1.io.parse_example(serialized, {"x": v1.FixedLenFeature([1], tf.float32, default_value=[0.0])})
        x = tf.identity(features["x"], name="x")
        y = tf.add(tf.multiply(a, x), b, name="y")
        classes = tf.broadcast_to([["low", "high"]], [tf.shape(y)[0], 2])
        scores = tf.concat([y, -y], axis=1)
        session.run(v1.global_variables_initializer())
        info, make = v1.saved_model.build_tensor_info, v1.saved_model.build_signature_def
        whole, wholes = tf.cast(y, tf.int64), tf.cast(scores, tf.int64)
        same = tf.identity(x)  # what is fed itself cannot be fetched
        serialized, x, y, scores, classes, same = map(info, (serialized, x, y, scores, classes, same))
        whole, wholes = info(whole), info(wholes)
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {
                "serving_default": make({"x": x}, {"y": y}, PREDICT),
                "two_outputs": make({"x": x}, {"y": y, "same": same}, PREDICT),
                "classify": make({"inputs": serialized}, {"classes": classes, "scores": scores}, CLASSIFY),
                "classify_scores": make({"inputs": serialized}, {"scores": scores}, CLASSIFY),
                "regress": make({"inputs": serialized}, {"outputs": y}, REGRESS),
                "regress_other_input": make({"examples": serialized}, {"outputs": y}, REGRESS),
                "classify_other_output": make({"inputs": serialized}, {"elsewhere": scores}, CLASSIFY),
                "regress_other_output": make({"inputs": serialized}, {"elsewhere": y}, REGRESS),
                "regress_wide": make({"inputs": serialized}, {"outputs": scores}, REGRESS),
                "regress_int": make({"inputs": serialized}, {"outputs": whole}, REGRESS),
                "classify_int": make({"inputs": serialized}, {"scores": wholes}, CLASSIFY),
                "two_inputs": make({"inputs": serialized, "more": x}, {"outputs": y}, REGRESS),
            },
        )
        builder.save()


def declare(folder, **dtypes):
    """Declares other dtypes than the graph has: `SIGNATURE__ALIAS=dtype`; some published models do."""

    def change(meta_graph):
        for key, dtype in dtypes.items():
            name, alias = key.split("__")
            signature = meta_graph.signature_def[name]
            side = signature.inputs if alias in signature.inputs else signature.outputs
            side[alias].dtype = tf.as_dtype(dtype).as_datatype_enum

    edit(folder, change)


def write_counter(folder):
    """TensorFlow 1, session-based: each call adds one to a variable of the graph; the object loader cannot take it."""
    graph = tf.Graph()
    with graph.as_default(), v1.Session() as session:
        counter = v1.get_variable("counter", initializer=0, dtype=tf.int32, use_resource=False)
        by = v1.placeholder(tf.int32, [], name="by")
        added = v1.assign_add(counter, by)
        session.run(v1.global_variables_initializer())
        info, make = v1.saved_model.build_tensor_info, v1.saved_model.build_signature_def
        builder = v1.saved_model.Builder(str(folder))
        signature = make({"by": info(by)}, {"count": info(added)}, PREDICT)
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()


class _Tools(tf.Module):
    def __init__(self, bias):
        self.bias = tf.Variable(bias)
        self.runs_seen = tf.Variable(0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def plus(self, x):
        return {"y": x + self.bias}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text"), tf.TensorSpec([None], tf.string, "end")])
    def join(self, text, end):
        return {"joined": tf.strings.join([text, end])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "numbers")])
    def parse(self, numbers):
        """Rows through tf.data in the graph; those that are no numbers give -1."""
        rows = tf.data.Dataset.from_tensor_slices(numbers).enumerate()
        rows = rows.map(lambda i, text: (i, tf.strings.to_number(text))).ignore_errors()
        start = tf.fill(tf.shape(numbers), -1.0)
        return {"y": rows.reduce(start, lambda old, row: tf.tensor_scatter_nd_update(old, [[row[0]]], [row[1]]))}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x"), tf.TensorSpec([None], tf.int32, "steps")])
    def slow(self, x, steps):
        count = self.runs_seen.assign_add(1)
        limit = tf.reduce_max(steps)
        first = tf.ones([200, 200]) / 200.0
        done = tf.while_loop(lambda i, _: i < limit, lambda i, m: (i + 1, m @ first), (0, first), parallel_iterations=1)
        return {"y": x + 0 * done[1][0, 0], "run": tf.fill(tf.shape(x), count)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def runs(self, x):
        return {"runs": tf.fill(tf.shape(x), self.runs_seen + 0)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def positive(self, x):
        with tf.control_dependencies([tf.debugging.assert_non_negative(x, "no negative numbers here")]):
            return {"y": 2 * x, "rows": tf.fill(tf.shape(x), tf.shape(x)[0])}

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, "x")])
    def sums(self, x):
        return {"sum": tf.reduce_sum(x, 1), "width": tf.fill(tf.shape(x)[:1], tf.shape(x)[1])}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, "x")])
    def mean(self, x):
        return {"mean": tf.reduce_mean(x)}


KINDS = (
    "float32 float64 float16 bfloat16 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool string complex64 "
    "complex128"
).split()


def write_tools(folder, bias=1.0):
    """TensorFlow 2: strings, tf.data, a slow signature, one that fails, and `echo_DTYPE` for each dtype."""
    module = _Tools(bias)
    signatures = {name: getattr(module, name) for name in "plus join parse slow runs positive sums mean".split()}
    for dtype in KINDS:
        echo = tf.function(lambda x: {"y": tf.identity(x)}, input_signature=[tf.TensorSpec(None, dtype, "x")])
        setattr(module, f"echo_{dtype}", echo)
        signatures[f"echo_{dtype}"] = echo
    tf.saved_model.save(module, str(folder), {"serving_default": module.plus, **signatures})


def edit(folder, change):
    """Rewrites `saved_model.pb` after `change(meta_graph)`."""
    path = folder / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    change(saved.meta_graphs[0])
    path.write_bytes(saved.SerializeToString())


def publish(source, base, version):
    """Puts a copy of a version into a model's folder in one step."""
    base.mkdir(parents=True, exist_ok=True)
    aside = base / f".aside-{version}"
    shutil.copytree(source, aside)
    aside.rename(base / str(version))
