"""What the library must know of one kind of input beside text, such as an image."""

import numpy as np
import tensorflow as tf

from vl_keras.config import AugmentConfig, DataConfig


class Modality:
    """One kind of input: how its bytes are checked, decoded, batched and served.

    An example holds none, one or several contents (byte strings) of a modality. A batch holds, under the modality's
    `name`:

    - `<name>`: decoded contents. Where all have one shape, `(B, …)` with `<name>_mask` `(B,)` bool. Where their first
      axis varies, `(B, T, …)`, zeros after a content's end, with `<name>_mask` `(B, T)` bool.
    - or, from a `FeatureCache`, `<name>_tokens` `(B, R, D)` with `<name>_mask` `(B, R)` bool: the encoder's tokens of
      all contents of an example, one content after the other.

    A mask is True where something real stands. A content that cannot be read is zeros with its mask False, and goes to
    the source's quarantine with the reason. An example without any content is zeros with its mask False as well, but
    nothing is wrong with it.

    A subclass sets the attributes and defines `value_spec`, `check`, `decode`, `check_served` and `golden`. To add a
    modality, write such a class in a file of this folder and put one instance into `MODALITIES`.

    Attributes:
        name: key in batches, in records and of `ServingSignature.inputs`.
        units: what several contents are called in messages, such as "images".
        served_name: input of the served signature that takes the bytes.
        empty: why a content without bytes cannot be read.
        damaged: why bytes that pass `check` and still cannot be decoded cannot be read, in training and in serving. The
            reasons of a modality must name it, because a signature may have several inputs.
        header_size: length of the vectors that `header` and `served_header` return; 0: there are none. Otherwise
            `check`, `check_served`, `decode` and `decode_augmented` take that of their content as `header`, so that a
            file's header is read once; and `served_header`, `decode` and `decode_augmented`
            take `usual`, true for contents in their `usual_form`.
        augments: the fields of `AugmentConfig` that `decode_augmented` reads.
    """

    name: str
    units: str
    served_name: str
    empty: str = "empty: there are no bytes"
    damaged: str
    header_size: int = 0
    augments: tuple[str, ...] = ()

    def value_spec(self, data: DataConfig) -> tf.TensorSpec:
        """Shape and dtype of one decoded content; the first axis is None where contents differ in length."""
        raise NotImplementedError

    def header(self, content: bytes) -> np.ndarray:
        """`(header_size,)` int64: what a content's header says, in numbers."""
        return np.zeros(0, np.int64)

    def served_header(self, content: tf.Tensor, usual: bool = False) -> tf.Tensor:
        """`header` of a scalar string; graph operations only. `usual`: its first bytes are, see `begins_as_usual`."""
        return tf.zeros(0, tf.int64)

    def usual_form(self, content: bytes, header: np.ndarray) -> bytes:
        """A content without a fault in a form that `decode` reads with `usual`, which needs a smaller, faster graph.

        It raises a `tf.errors.OpError` where the bytes are broken.
        """
        return content

    def begins_as_usual(self, contents: tf.Tensor) -> tf.Tensor:
        """`(B,)` bool: which of `(B,)` contents are in their `usual_form`, if they are sound, by their first bytes."""
        return tf.zeros(tf.shape(contents), tf.bool)

    def check(self, content: bytes, data: DataConfig, header: np.ndarray | None = None) -> tuple[str | None, bool]:
        """Looks at a content's header and limits, without decoding it.

        Args:
            content: bytes, not empty.
            data: `DataConfig`, for the limits.

        Returns:
            Why the content must not be decoded, or None; and whether `decode_ready` can read it.
        """
        raise NotImplementedError

    def decoding_settings(self, data: DataConfig) -> dict[str, object]:
        """JSON-able settings that decoded contents depend on: a cache that was made with others is not valid."""
        return {}

    def decode(
        self, content: tf.Tensor, data: DataConfig, header: tf.Tensor | None = None, usual: bool = False
    ) -> tf.Tensor:
        """Decodes a scalar string as evaluation and serving see it.

        Graph operations only: it runs eagerly, in tf.data and in the served graph. It raises a `tf.errors.OpError`
        where the bytes are broken.
        """
        raise NotImplementedError

    def decode_ready(self, content: tf.Tensor, data: DataConfig) -> tf.Tensor:
        """`decode` of a content that needs nothing but decoding, as `check` said; quicker where that pays."""
        return self.decode(content, data)

    def is_augmented(self, augment: AugmentConfig) -> bool:
        """Whether `decode_augmented` would change anything with these settings."""
        return False

    def decode_augmented(
        self,
        content: tf.Tensor,
        seed: tf.Tensor,
        flip: tf.Tensor,
        data: DataConfig,
        augment: AugmentConfig,
        header: tf.Tensor | None = None,
        usual: bool = False,
    ) -> tf.Tensor:
        """Decodes a scalar string and changes it at random, as `seed` `(2,)` int32 and `flip` (scalar bool) decide."""
        return self.decode(content, data) if header is None else self.decode(content, data, header, usual)

    def damaged_reasons(self, contents: tf.Tensor) -> tf.Tensor:
        """`(B,)` string: `damaged` for each of `(B,)` contents, or more of what their first bytes tell."""
        return tf.fill(tf.shape(contents), self.damaged)

    def check_served(self, content: tf.Tensor, data: DataConfig, header: tf.Tensor | None = None) -> tf.Tensor:
        """`row_status.OK`, or why the scalar string `content` cannot be decoded; graph operations only."""
        raise NotImplementedError

    def golden(self) -> dict[str, bytes]:
        """A few contents in the forms that people send, by name, the same in every call; all of them readable.

        Every export is checked and warmed up with them.
        """
        raise NotImplementedError

    def varies(self, data: DataConfig) -> bool:
        """Whether decoded contents differ in their first axis."""
        return self.value_spec(data).shape[0] is None
