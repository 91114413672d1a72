"""Batches of image indices become batches of images, where an image that cannot be read costs itself only."""

import functools
import re

import numpy as np
import tensorflow as tf

from vl_keras.data import image_ops
from vl_keras.data.image_header import find_fault, has_exif, stored_size

_BATCHES_AT_ONCE = 16  # the most batches decoded side by side; each takes one thread


def load_images(rows, source, data, augment=None):
    """Reads, decodes, crops, augments and resizes images in parallel, in order.

    An image that is empty, broken, cut short or over `data.max_pixels` (told by its header, before it is decoded)
    becomes zeros with `image_ok` False, and goes to `source.quarantine` with its id and the reason.

    Args:
        rows: dataset of dicts with "index" `(B,)` int64 and, where `augment` is given, "seed" `(B, 2)` int32 and "flip"
            `(B,)` bool; B may differ from batch to batch; whatever else is in them is passed on.
        source: where the bytes come from.
        data: `DataConfig`: `image_size`, `max_pixels`, `max_bad_share`.
        augment: `AugmentConfig`, or None for the plain image.

    Returns:
        The dataset with "image" `(B, height, width, 3)` uint8 and "image_ok" `(B,)` bool added. Its iterator raises
        where more than `data.max_bad_share` of the source's images cannot be used.
    """
    height, width = data.image_size

    def read_one(content, seed, flip):
        if augment is None:
            return image_ops.resize_uint8(image_ops.decode_image(content), (height, width))
        image = image_ops.decode_and_crop(content, seed, augment.crop_min_area)
        image = image_ops.resize_uint8(image, (height, width))
        return image_ops.augment(image, seed[::-1], flip, augment.rotation, augment.color)

    def stored_images(contents):
        decode = functools.partial(image_ops.decode_stored, size=(height, width))
        return tf.map_fn(decode, contents, fn_output_signature=tf.TensorSpec((height, width, 3), tf.uint8))

    def read(indices):
        return _read(source, data, indices, augment is None)

    def batch(row):
        # TensorFlow's decoders raise on bad bytes, and a graph cannot catch; a dataset can. So each batch is a dataset
        # of its own, whose failing elements are left out, and the places of those that are left tell which are missing.
        content, stored = tf.numpy_function(read, [row["index"]], [tf.string, tf.bool])
        content.set_shape(row["index"].shape)
        count = tf.shape(content)[0]
        seed = row.get("seed", tf.zeros((count, 2), tf.int32))
        flip = row.get("flip", tf.zeros((count,), tf.bool))
        decoded = tf.data.Dataset.from_tensor_slices((tf.range(count), content, seed, flip))
        decoded = decoded.map(lambda place, *args: (place, read_one(*args))).ignore_errors()
        none = (tf.zeros((0,), tf.int32), tf.zeros((0, height, width, 3), tf.uint8))
        decoded = decoded.batch(tf.cast(count, tf.int64)).concatenate(tf.data.Dataset.from_tensors(none))
        if augment is None:
            # Images that need decoding only are decoded by one call: starting one for each costs a tenth of decoding.
            # Where that fails, the batch is read one by one.
            whole = tf.data.Dataset.from_tensors(content).take(tf.cast(tf.reshape(stored, ()), tf.int64))
            whole = whole.map(lambda content: (tf.range(count), stored_images(content))).ignore_errors()
            decoded = whole.concatenate(decoded)
        return tf.data.Dataset.zip((tf.data.Dataset.from_tensors(row), decoded.take(1)))

    def complete(row, decoded):
        places, images = decoded
        count = tf.shape(row["index"])[0]

        def with_gaps():
            ok = tf.scatter_nd(places[:, tf.newaxis], tf.ones_like(places, tf.bool), (count,))
            missing = tf.boolean_mask(row["index"], ~ok)
            noted = tf.numpy_function(lambda indices: _quarantine(source, data, indices), [missing], tf.bool)
            with tf.control_dependencies([noted]):
                return tf.scatter_nd(places[:, tf.newaxis], images, (count, height, width, 3)), ok

        whole = tf.logical_and(tf.size(places) == count, tf.reduce_all(places == tf.range(tf.size(places))))
        images, ok = tf.cond(whole, lambda: (images, tf.ones((count,), tf.bool)), with_gaps)
        images.set_shape((row["index"].shape[0], height, width, 3))
        ok.set_shape(row["index"].shape)
        return {**row, "image": images, "image_ok": ok}

    loaded = rows.interleave(
        batch, cycle_length=_BATCHES_AT_ONCE, block_length=1, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    return loaded.map(complete)


def load_image(content, data):
    """One image's bytes, read as `load_images` reads them, at once.

    Args:
        content: bytes.
        data: `DataConfig`: `image_size`, `max_pixels`.

    Returns:
        `(height, width, 3)` uint8 and an empty string; or None and why it cannot be read.
    """
    reason = find_fault(content, stored_size(content), data.max_pixels) if content else "no bytes"
    if reason is None:
        try:
            return image_ops.resize_uint8(image_ops.decode_image(tf.constant(content)), data.image_size), ""
        except tf.errors.OpError as error:
            reason = undecodable(error)
    return None, reason


def undecodable(error):
    """Why an image cannot be decoded, in its decoder's words, without those that mean nothing to a reader."""
    words = str(getattr(error, "message", error)).strip() or type(error).__name__
    return "cannot be decoded: " + re.sub(r"^\{\{.*?\}\} | \[Op:.*| <_io\.BytesIO.*?>", "", words.splitlines()[0])


def _read(source, data, indices, plain):
    """Bytes of images, b"" for those that must not be decoded; and whether all need decoding only."""
    contents, stored = np.empty(len(indices), object), plain
    for place, content in enumerate(source.read_images(indices)):
        size = stored_size(content)
        contents[place] = content if content and find_fault(content, size, data.max_pixels) is None else b""
        stored = stored and size == data.image_size and not has_exif(content)
    return contents, np.bool_(stored)


def _quarantine(source, data, indices):
    """Says of each image that gave no image why; raises above the share that is allowed."""
    known = {name for name, _ in source.quarantine.rows}
    indices = [index for index in indices if source.image_ids[index] not in known]
    for index, content in zip(indices, source.read_images(indices), strict=True):
        _, reason = load_image(content, data)
        source.quarantine.add(source.image_ids[index], reason or "decoded once but not another time")
    check_quarantine(source, data.max_bad_share)
    return np.True_


def check_quarantine(source, max_share):
    """Raises `QuarantineError` where more than `max_share` of a source's inputs are unusable.

    Inputs that were skipped when the source was made count as well, on both sides.
    """
    names = set(source.image_ids)
    skipped = sum(name not in names for name, _ in source.quarantine.counted)
    source.quarantine.check(len(source) + skipped, max_share)
