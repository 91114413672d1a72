"""Apache Beam's RunInference over a SavedModel's signature."""

import concurrent.futures
from typing import NamedTuple

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.ml.inference.base import ModelHandler, PredictionResult

OK = "ok"
_READERS = 8


class _Loaded(NamedTuple):
    model: object  # keeps the variables alive
    function: object


class _Model:
    """A loaded model; Beam shares it by a weak reference, which a tuple cannot have."""

    def __init__(self, loaded):
        self.loaded = loaded


class SavedModelHandler(ModelHandler):
    """Reads and answers whole shards of images; an element is a list of one shard, `(its name, its files' names)`.

    So an element's result is a whole output file, whatever the runner does between; and no more images than two
    batches are in memory. Beam's own TensorFlow handler takes Keras models only.

    The result's `inference` is a list of `(name, reason, outputs)`, a file each: `reason` is `ok`, or why it could not
    be read; `outputs` a dict of output name -> its row.

    Args:
        folder: of the SavedModel.
        signature: its name.
        texts: dict of input name -> a string for every image.
        batch_size: images in one call.
    """

    def __init__(self, folder, signature, texts, batch_size):
        super().__init__()
        self._folder, self._signature = folder, signature
        self._texts, self._batch_size = texts, batch_size

    def load_model(self):
        import tensorflow as tf
        import tensorflow_text  # noqa: F401  registers the operations of text

        model = tf.saved_model.load(self._folder)
        return _Model(_Loaded(model, model.signatures[self._signature]))

    def run_inference(self, batch, model, inference_args=None):
        with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
            for shard in batch:
                yield PredictionResult(shard, list(self._rows(shard[1], model.loaded.function, pool)))

    def should_skip_batching(self):
        return True  # elements are batches already

    def get_metrics_namespace(self):
        return "vl_export"

    def _rows(self, names, function, pool):
        batches = [names[start : start + self._batch_size] for start in range(0, len(names), self._batch_size)]
        coming = [pool.submit(_read, name) for name in batches[0]]
        for batch, following in zip(batches, [*batches[1:], ()], strict=True):
            read = [future.result() for future in coming]
            coming = [pool.submit(_read, name) for name in following]
            yield from self._answer(batch, read, function)

    def _answer(self, names, read, function):
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


def _read(name):
    try:
        with FileSystems.open(name, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            return file.read(), OK
    except OSError as error:  # Beam's own errors are among them
        return b"", f"unreadable: {error.strerror or error}"
