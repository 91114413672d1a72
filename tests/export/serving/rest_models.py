"""A SavedModel for the REST tests: every dtype of JSON, and inputs and outputs of other shapes."""

import tensorflow as tf

ECHO_DTYPES = ("float32", "float64", "int32", "int16", "int8", "uint8", "int64", "uint32", "uint64", "bool", "string")


class _Kinds(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, "a"), tf.TensorSpec(None, tf.float32, "b")])
    def add(self, a, b):
        return {"sum": a + b, "first": tf.identity(a)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def strings(self, text):
        marked = tf.strings.join([text, "!"])
        return {"text": tf.identity(text), "text_bytes": marked, "length": tf.strings.length(text)}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, "x")])
    def no_batch(self, x):
        return {"mean": tf.reduce_mean(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def other_batch(self, x):
        return {"x": tf.identity(x), "three": tf.zeros([3])}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, "x")])
    def half(self, x):
        return {"half": tf.cast(x, tf.float16)}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float16, "x")])
    def from_half(self, x):
        return {"y": tf.cast(x, tf.float32)}

    @tf.function(input_signature=[])
    def nothing(self):
        return {"y": tf.zeros([1])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def positive(self, x):
        with tf.control_dependencies([tf.debugging.assert_non_negative(x, "no negative numbers here")]):
            return {"y": 2 * x}


def write_kinds(folder):
    """TensorFlow 2: `echo_DTYPE` for every dtype of JSON, and the signatures above."""
    module = _Kinds()
    names = "add strings no_batch other_batch half from_half nothing positive".split()
    signatures = {name: getattr(module, name) for name in names}
    for dtype in ECHO_DTYPES:
        echo = tf.function(lambda x: {"y": tf.identity(x)}, input_signature=[tf.TensorSpec(None, dtype, "x")])
        setattr(module, f"echo_{dtype}", echo)
        signatures[f"echo_{dtype}"] = echo
    tf.saved_model.save(module, str(folder), {"serving_default": module.echo_float32, **signatures})
