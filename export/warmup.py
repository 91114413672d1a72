"""Requests that a server answers for itself before a new version takes traffic."""

import itertools

import tensorflow as tf

from export.golden import golden_images

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
_TEXT = "a dog runs on the beach"


def write_warmup(folder, signatures, batch_sizes):
    """Writes a `PredictionLog` for every signature and batch size into a SavedModel's folder.

    Args:
        folder: of the SavedModel.
        signatures: dict of name -> names of its inputs; `image_bytes` gets images, the others a sentence.
        batch_sizes: rows of the requests.

    Returns:
        How many records there are.
    """
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    path = folder / WARMUP_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    images = list(golden_images().values())
    records = 0
    with tf.io.TFRecordWriter(str(path)) as writer:
        for (name, inputs), size in itertools.product(signatures.items(), batch_sizes):
            request = predict_pb2.PredictRequest()
            request.model_spec.signature_name = name
            for key in inputs:
                values = images if key == "image_bytes" else [_TEXT.encode()]
                rows = list(itertools.islice(itertools.cycle(values), size))
                request.inputs[key].CopyFrom(tf.make_tensor_proto(rows, tf.string, [size]))
            log = prediction_log_pb2.PredictionLog(
                predict_log=prediction_log_pb2.PredictLog(request=request),
            )
            writer.write(log.SerializeToString())
            records += 1
    return records
