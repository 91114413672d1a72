"""Bytes become values in a served graph: a bad content costs its own row, and is checked before it is decoded.

TensorFlow's decoders raise, which would fail a whole batch, and decode whatever a header promises, which a few bytes
can make gigabytes. So `Modality.check_served` reads the header with string operations first, and the decoder runs
inside a tf.data pipeline that drops the rows it raises for; the rest are put back in their places.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from vl_keras.config import DataConfig
from vl_keras.data.modalities import Modality
from vl_keras.data.row_status import OK
from vl_keras.data.split_rows import read_by_kind

_AT_ONCE = 8  # rows decoded side by side


def serve_contents(contents: tf.Tensor, modality: Modality, data: DataConfig) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Decodes contents as evaluation does; rows fail alone.

    Args:
        contents: `(B,)` string, the bytes of one content each.
        modality: what they are.
        data: `DataConfig`, for the modality.

    Returns:
        Values `(B, …)` float32, zeros in rows that failed; their mask, bool: `(B,)`, or `(B, T)` where contents differ
        in length; and `(B,)` string: `row_status.OK`, or why the row failed.
    """
    varies, spec = modality.varies(data), modality.value_spec(data)
    count = tf.shape(contents, out_type=tf.int64)[0]
    missing = tf.zeros([1 if size is None else size for size in spec.shape], spec.dtype)

    def reader(usual: bool) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, ...]]:
        def read(index: tf.Tensor, content: tf.Tensor) -> tuple[tf.Tensor, ...]:
            header = {"header": modality.served_header(content, usual)} if modality.header_size else {}
            status = modality.check_served(content, data, **header)
            known: dict[str, Any] = {**header, "usual": usual} if header else {}
            value = tf.cond(status == OK, lambda: modality.decode(content, data, **known), lambda: missing)
            value = tf.ensure_shape(value, spec.shape)
            return index, value, tf.where(status == OK, tf.shape(value)[0], 0), status

        return read

    is_usual, rows = modality.begins_as_usual(contents), (tf.range(count), contents)
    rows = read_by_kind(is_usual, rows, reader, num_parallel_calls=_AT_ONCE, deterministic=False)
    # The last row stands for every row that is missing; it also keeps the batch from being empty.
    last = tf.data.Dataset.from_tensors((count, missing, 0, modality.damaged))
    rows = rows.concatenate(last)
    rows = rows.padded_batch(count + 1) if varies else rows.batch(count + 1)
    index, values, lengths, status = rows.get_single_element()
    places = tf.fill([count], tf.shape(index, out_type=tf.int64)[0] - 1)
    places = tf.tensor_scatter_nd_update(places, index[:-1, None], tf.range(tf.shape(index, out_type=tf.int64)[0] - 1))
    values, status = tf.cast(tf.gather(values, places), tf.float32), tf.gather(status, places)
    status = tf.where(places == tf.shape(index, out_type=tf.int64)[0] - 1, modality.damaged_reasons(contents), status)
    mask = tf.sequence_mask(tf.gather(lengths, places), tf.shape(values)[1]) if varies else status == OK
    return values, mask, status
