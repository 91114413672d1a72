"""A TensorFlow Hub image module as a layer that gives tokens, a feature map or a vector."""

import hashlib
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_hub as hub
import tf_keras as keras


@keras.saving.register_keras_serializable("vl_keras")
class HubImageLayer(keras.layers.Layer):
    """Runs a hub module on images, always in inference mode, so that fine-tuning keeps its batch statistics.

    Args:
        handle: URL or folder of the module.
        trainable: fine-tune its variables.
        image_size: height and width in pixels, if fixed; None: images of any size.
        digest: of the module's graph, which the config of a built layer holds; it is not read.

    Args of call:
        inputs: `(B, height, width, 3)` float, 0 to 1, as hub's image modules take them.

    Returns:
        Dict of `features`, float32 under every precision policy: the module's `image_tokens` `(B, R, D)`, or its only
        or default output, a feature map `(B, rows, columns, D)` or a vector `(B, D)`; and, where the module gives
        `image_tokens` with an `image_mask`, `mask` `(B, R)` bool.

    Raises:
        ValueError: the module has another kind of output.
    """

    def __init__(
        self,
        handle: str,
        trainable: bool = False,
        image_size: tuple[int, int] | None = None,
        digest: str | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(trainable=trainable, **kwargs)
        del digest
        self.handle = handle
        self.image_size = tuple(image_size) if image_size else None
        self.module = hub.KerasLayer(handle, trainable=trainable, name="module")
        self.digest = hashlib.sha256((Path(hub.resolve(handle)) / "saved_model.pb").read_bytes()).hexdigest()
        self._shapes = self._traced_shapes()

    def call(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        chosen = _chosen(self.module(inputs, training=False))
        return {name: tf.ensure_shape(value, self._shapes[name]) for name, value in chosen.items()}

    def get_config(self) -> dict[str, Any]:
        own = {"handle": self.handle, "image_size": self.image_size, "digest": self.digest}
        return {**super().get_config(), **own}

    def _traced_shapes(self) -> dict[str, tf.TensorShape]:
        image = tf.TensorSpec((None, *(self.image_size or (None, None)), 3), tf.float32)
        function = tf.function(lambda image: _chosen(self.module(image, training=False)), autograph=False)
        outputs = function.get_concrete_function(image).structured_outputs
        return {name: tf.TensorShape((None, *value.shape[1:])) for name, value in outputs.items()}


def _chosen(outputs: Any) -> dict[str, tf.Tensor]:
    mask = None
    if isinstance(outputs, dict):
        names = ["image_tokens", "default", *(outputs if len(outputs) == 1 else ())]
        name = next((name for name in names if name in outputs), None)
        if name is None:
            raise ValueError(f"it gives {', '.join(sorted(outputs))}, none of which is image_tokens or default")
        mask = outputs.get("image_mask") if name == "image_tokens" else None
        outputs = outputs[name]
    if not tf.is_tensor(outputs) or outputs.shape.rank not in (2, 3, 4) or outputs.shape[-1] is None:
        shape = getattr(outputs, "shape", type(outputs).__name__)
        raise ValueError(f"its output is {shape}, and neither tokens (B, R, D), a map (B, h, w, D) nor a vector (B, D)")
    chosen = {"features": tf.cast(outputs, tf.float32)}
    return chosen if mask is None else {**chosen, "mask": tf.cast(mask, tf.bool)}
