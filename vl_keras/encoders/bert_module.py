"""Makes pairs of TensorFlow Hub BERT modules from checkpoints."""

import shutil
import warnings
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras as keras

from vl_keras.encoders.bert_preprocessor import build_preprocessor
from vl_keras.encoders.checkpoints.bert_checkpoint import BertCheckpoint, read_checkpoint, read_json
from vl_keras.encoders.checkpoints.bert_preset import WEIGHTS_FILE, read_preset
from vl_keras.encoders.networks.bert_network import build_bert, randomize_weights, set_weights
from vl_keras.errors import EncoderError


def make_bert(
    source: str | Path, out: str | Path, lower_case: bool | None = None, seed: int = 0
) -> dict[str, str | int]:
    """Writes `out/encoder` and `out/preprocessor`, SavedModels in the form of TensorFlow Hub's BERT modules.

    `hub.KerasLayer` loads either; the encoder can be fine-tuned (`trainable=True`, with dropout). Both appear at once,
    when all is written: an interrupted run leaves no half module.

    Args:
        source: a checkpoint folder (`config.json`, `vocab.txt`, `model.safetensors` in Hugging Face's names); or a
            keras-nlp preset folder; or a folder with a `config.json` alone, which gives random weights, with a warning.
        out: folder to make; it must not exist, or be empty.
        lower_case: whether the preprocessor lower-cases; None: as the checkpoint says.
        seed: of random weights.

    Returns:
        Dict: `encoder` and `preprocessor` (paths), `weights` (the file they came from, or `random`), `vocabulary`
        (number of tokens), `parameters`.

    Raises:
        EncoderError: a file is missing or unreadable, tensors do not fit the config (each named), or `out` is in use.
    """
    source, out = Path(source).expanduser(), Path(out).expanduser()
    if not source.is_dir():
        raise EncoderError(f"There is no folder `{source}` to make a BERT module from.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise EncoderError(f"`{out}` already exists; name a new folder, or remove it first.")
    checkpoint, weights_file = _read(source, lower_case)
    network = build_bert(checkpoint.settings)
    if checkpoint.weights is None:
        warnings.warn(f"`{source}` holds no weights: the module is made with random ones.", stacklevel=2)
        randomize_weights(network, checkpoint.settings, seed)
    else:
        set_weights(network, checkpoint.weights)

    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # what an interrupted run left
    partial.mkdir(parents=True)
    try:
        tf.saved_model.save(encoder_module(network), str(partial / "encoder"), signatures={})
        _save_preprocessor(checkpoint, partial)
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return {
        "encoder": str(out / "encoder"),
        "preprocessor": str(out / "preprocessor"),
        "weights": weights_file,
        "vocabulary": len(checkpoint.vocabulary),
        "parameters": network.count_params(),
    }


def encoder_module(network: keras.Model) -> Any:
    """The trackable object that is saved as the encoder module: a network of `build_bert` in TensorFlow Hub's form.

    `__call__(inputs, training=False)` takes the dict of `input_word_ids`, `input_mask`, `input_type_ids`, each `(B, T)`
    int32, and returns `pooled_output` (also as `default`), `sequence_output` and `encoder_outputs`.
    """
    module = tf.__internal__.tracking.AutoTrackable()

    def call(inputs: dict[str, tf.Tensor], training: bool = False) -> dict[str, Any]:
        outputs = network(inputs, training=training)
        return {**outputs, "default": outputs["pooled_output"]}

    module.__call__ = tf.function(call, autograph=False)
    specs = {name: tf.TensorSpec((None, None), tf.int32, name=name) for name in network.input_names}
    for training in (False, True):
        module.__call__.get_concrete_function(specs, training=training)
    module.variables = network.variables
    module.trainable_variables = network.trainable_variables
    module.regularization_losses = []
    return module


def _read(source: Path, lower_case: bool | None) -> tuple[BertCheckpoint, str]:
    if (source / WEIGHTS_FILE).is_file() or "class_name" in read_json(source / "config.json"):
        checkpoint, weights_file = read_preset(source), WEIGHTS_FILE
        if lower_case is not None:
            raise EncoderError("A keras-nlp preset says itself whether it lower-cases; leave `lower_case` out.")
        return checkpoint, weights_file
    checkpoint = read_checkpoint(source, lower_case)
    return checkpoint, "random" if checkpoint.weights is None else "model.safetensors"


def _save_preprocessor(checkpoint: BertCheckpoint, folder: Path) -> None:
    vocabulary_file = folder / "vocab.txt"
    vocabulary_file.write_text("".join(f"{token}\n" for token in checkpoint.vocabulary), encoding="utf-8")
    module = build_preprocessor(vocabulary_file, checkpoint.vocabulary, checkpoint.lower_case, checkpoint.strip_accents)
    tf.saved_model.save(module, str(folder / "preprocessor"), signatures={})
    vocabulary_file.unlink()  # the module holds its own copy
