"""TensorBoard files that a resumed run continues without doubling or losing anything."""

import os
from pathlib import Path

import tensorflow as tf
from tensorflow.core.util import event_pb2


class Board:
    """Writes scalars, images and texts for TensorBoard.

    Args:
        folder: of the event files; None: nothing is written.
        step: step that the run goes on from: what an earlier process wrote for later steps is dropped, because it is
            computed again.
    """

    def __init__(self, folder, step=0):
        self._writer = None
        if folder is None:
            return
        Path(folder).mkdir(parents=True, exist_ok=True)
        for path in Path(folder).glob("events.out.tfevents.*"):
            _cut(path, step)
        self._writer = tf.summary.create_file_writer(str(folder))

    def scalars(self, step, values):
        """`values`: dict of name -> number."""
        if self._writer is not None:
            with self._writer.as_default(step):
                for name, value in values.items():
                    tf.summary.scalar(name, value)

    def images(self, step, name, images, texts):
        """`images`: list of uint8 `(height, width, 3)`, of any sizes; `texts`: what is said of each."""
        if self._writer is not None:
            with self._writer.as_default(step):
                for index, image in enumerate(images):
                    tf.summary.image(f"{name}/{index}", image[None])
                tf.summary.text(name, tf.constant(texts))

    def flush(self):
        if self._writer is not None:
            self._writer.flush()

    def close(self):
        if self._writer is not None:
            self._writer.close()


def _cut(path, step):
    """Rewrites an event file without the events after `step`, nor what a kill left half written at its end."""
    kept, whole = [], True
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            if event_pb2.Event.FromString(record).step <= step:
                kept.append(record)
            else:
                whole = False
    except tf.errors.DataLossError:
        whole = False
    if whole:
        return
    part = path.with_name(f"part.{path.name}")
    with tf.io.TFRecordWriter(str(part)) as writer:
        for record in kept:
            writer.write(record)
    os.replace(part, path)
