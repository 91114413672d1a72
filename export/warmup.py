"""Writes the warm-up requests that a server replays before a new version receives traffic."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import tensorflow as tf

from vl_keras.data.modalities import MODALITIES

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
_TEXT = "a dog runs on the beach"


def write_warmup(folder: Path, signatures: Mapping[str, Sequence[str]], batch_sizes: Sequence[int]) -> int:
    """Writes one `PredictionLog` per signature and batch size into the folder of a SavedModel.

    Args:
        folder: of the SavedModel.
        signatures: dict of name -> input names. The input of a modality is filled with its golden contents, a text
            input with a sentence.
        batch_sizes: numbers of rows of the requests.

    Returns:
        The number of records.
    """
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    path = folder / WARMUP_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    golden = {modality.served_name: list(modality.golden().values()) for modality in MODALITIES.values()}
    records = 0
    with tf.io.TFRecordWriter(str(path)) as writer:
        for (name, inputs), size in itertools.product(signatures.items(), batch_sizes):
            request = predict_pb2.PredictRequest()
            request.model_spec.signature_name = name
            for key in inputs:
                values = golden.get(key, [_TEXT.encode()])
                rows = list(itertools.islice(itertools.cycle(values), size))
                request.inputs[key].CopyFrom(tf.make_tensor_proto(rows, tf.string, [size]))
            log = prediction_log_pb2.PredictionLog(
                predict_log=prediction_log_pb2.PredictLog(request=request),
            )
            writer.write(log.SerializeToString())
            records += 1
    return records
