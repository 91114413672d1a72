"""TensorBoard files that a resumed run continues, without double or lost values."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.util import event_pb2


class Board:
    """Writes scalars, images and texts for TensorBoard.

    Args:
        folder: folder of the event files; None: nothing is written.
        step: step that the run continues from; events of later steps are dropped, because these steps run again.
    """

    def __init__(self, folder: str | Path | None, step: int = 0) -> None:
        self._writer: Any = None
        if folder is None:
            return
        Path(folder).mkdir(parents=True, exist_ok=True)
        for path in Path(folder).glob("events.out.tfevents.*"):
            _cut(path, step)
        self._writer = tf.summary.create_file_writer(str(folder))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes numbers by name."""
        if self._writer is not None:
            with self._writer.as_default(step):
                for name, value in values.items():
                    tf.summary.scalar(name, value)

    def images(self, step: int, name: str, images: Sequence[np.ndarray], texts: Sequence[str]) -> None:
        """Writes uint8 images `(height, width, 3)` of any sizes, and a line of text for each."""
        if self._writer is not None:
            with self._writer.as_default(step):
                for index, image in enumerate(images):
                    tf.summary.image(f"{name}/{index}", image[None])
                tf.summary.text(name, tf.constant(texts))

    def flush(self) -> None:
        """Writes to disk what is buffered."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        if self._writer is not None:
            self._writer.close()


def _cut(path: Path, step: int) -> None:
    """Rewrites an event file without the events after `step` and without a half-written event at its end."""
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
