"""What the library must know of one kind of input beside text, such as an image."""

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
        damaged: status of a served row whose bytes pass `check_served` and still cannot be decoded. The statuses of a
            modality must name it, because a signature may have several inputs.
        augments: the fields of `AugmentConfig` that `decode_augmented` reads.
    """

    name: str
    units: str
    served_name: str
    damaged: str
    augments: tuple[str, ...] = ()

    def value_spec(self, data: DataConfig) -> tf.TensorSpec:
        """Shape and dtype of one decoded content; the first axis is None where contents differ in length."""
        raise NotImplementedError

    def check(self, content: bytes, data: DataConfig) -> tuple[str | None, bool]:
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

    def decode(self, content: tf.Tensor, data: DataConfig) -> tf.Tensor:
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
        self, content: tf.Tensor, seed: tf.Tensor, flip: tf.Tensor, data: DataConfig, augment: AugmentConfig
    ) -> tf.Tensor:
        """Decodes a scalar string and changes it at random, as `seed` `(2,)` int32 and `flip` (scalar bool) decide."""
        return self.decode(content, data)

    def check_served(self, content: tf.Tensor, data: DataConfig) -> tf.Tensor:
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
