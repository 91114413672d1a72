"""A Beam model handler that runs a signature of a SavedModel."""

import concurrent.futures
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.ml.inference.base import ModelHandler, PredictionResult

from vl_keras.files import read_file

OK = "ok"
_READERS = 8
FileResult = tuple[str, str, dict[str, Any]]  # file name, `ok` or why it cannot be read, outputs


class _Loaded(NamedTuple):
    model: object  # keeps the variables alive
    function: Callable[..., Any]


class _Model:
    """A loaded model. Beam shares it through a weak reference, which a tuple does not support."""

    def __init__(self, loaded: _Loaded) -> None:
        self.loaded = loaded


class SavedModelHandler(ModelHandler):
    """Reads the images of whole shards and runs the model on them.

    An element is a list with one shard: `(shard name, file names)`. One element gives one whole output file, however
    the runner schedules the work, and at most two batches of images are in memory. Beam's own TensorFlow handler
    supports Keras models only.

    `inference` of the result is a list of `(file name, reason, outputs)`: `reason` is `ok` or why the file cannot be
    read; `outputs` is a dict of output name -> the row of that file.

    Args:
        folder: of the SavedModel.
        signature: name of the signature.
        texts: dict of input name -> the string to send with every image.
        batch_size: images in one call of the model.
    """

    def __init__(self, folder: str, signature: str, texts: Mapping[str, str], batch_size: int) -> None:
        super().__init__()
        self._folder, self._signature = folder, signature
        self._texts, self._batch_size = texts, batch_size

    def load_model(self) -> _Model:
        import tensorflow as tf
        import tensorflow_text  # noqa: F401  registers the operations of text

        model = tf.saved_model.load(self._folder)
        return _Model(_Loaded(model, model.signatures[self._signature]))

    def run_inference(
        self, batch: Sequence[tuple[str, tuple[str, ...]]], model: _Model, inference_args: dict[str, Any] | None = None
    ) -> Iterator[PredictionResult]:
        with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
            for shard in batch:
                yield PredictionResult(shard, list(self._rows(shard[1], model.loaded.function, pool)))

    def should_skip_batching(self) -> bool:
        return True  # an element is already a batch

    def get_metrics_namespace(self) -> str:
        return "vl_export"

    def _rows(
        self, names: Sequence[str], function: Callable[..., Any], pool: concurrent.futures.Executor
    ) -> Iterator[FileResult]:
        batches = [names[start : start + self._batch_size] for start in range(0, len(names), self._batch_size)]
        coming = [pool.submit(_read, name) for name in batches[0]]
        for batch, following in zip(batches, [*batches[1:], ()], strict=True):
            read = [future.result() for future in coming]
            coming = [pool.submit(_read, name) for name in following]
            yield from self._predict(batch, read, function)

    def _predict(
        self, names: Sequence[str], read: Sequence[tuple[bytes, str]], function: Callable[..., Any]
    ) -> Iterator[FileResult]:
        import tensorflow as tf

        data = [content for content, reason in read if reason == OK]
        outputs, status = {}, iter(())
        if data:
            texts = {name: tf.fill([len(data)], text) for name, text in self._texts.items()}
            outputs = {key: value.numpy() for key, value in function(image_bytes=tf.constant(data), **texts).items()}
            status = iter(outputs.pop("status", [OK.encode()] * len(data)))
        row = 0
        for name, (_, reason) in zip(names, read, strict=True):
            if reason != OK:
                yield name, reason, {}
                continue
            yield name, next(status).decode("utf-8", "replace"), {key: value[row] for key, value in outputs.items()}
            row += 1


def _read(name: str) -> tuple[bytes, str]:
    try:
        if "://" not in name:  # of this machine
            return read_file(name), OK
        with FileSystems.open(name, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            return file.read(), OK
    except OSError as error:  # includes the errors of Beam
        return b"", f"unreadable: {error.strerror or error}"
