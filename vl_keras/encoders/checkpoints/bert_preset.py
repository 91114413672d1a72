"""Reads keras-nlp preset folders of BERT."""

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from vl_keras.encoders.checkpoints.bert_checkpoint import (
    BertCheckpoint,
    TensorReader,
    check_heads,
    check_vocabulary_size,
    read_json,
    read_vocabulary,
)
from vl_keras.encoders.networks.bert_network import TANH_GELU, BertSettings
from vl_keras.errors import EncoderError

WEIGHTS_FILE = "model.weights.h5"
_SIZES = ("vocabulary_size", "num_layers", "num_heads", "hidden_dim", "intermediate_dim")
_LAYER_NAMES = {
    # Keras names a layer in a weights file after its class; files written by name are read as well.
    "reversible_embedding": "token_embedding",
    "embedding": "segment_embedding",
    "layer_normalization": "embeddings_layer_norm",
    "dense": "pooled_dense",
}


def read_preset(folder: str | Path) -> BertCheckpoint:
    """Reads a preset folder: `config.json` of a `BertBackbone`, `model.weights.h5`, `tokenizer.json`, its vocabulary.

    The weights are read from the HDF5 file itself: presets are written by Keras 3, whose names for the parts of an
    attention layer differ from those that Keras 2 looks for.

    Returns:
        `BertCheckpoint`; its activation is the tanh approximation of GELU that `BertBackbone` computes.

    Raises:
        EncoderError: a file is missing, the preset is of another network, or tensors do not fit.
    """
    folder = Path(folder)
    config = read_json(folder / "config.json")
    if config.get("class_name") != "BertBackbone":
        raise EncoderError(
            f"`{folder / 'config.json'}` is a preset of {config.get('class_name')}; BertBackbone is wanted."
        )
    values = config["config"]
    missing = [key for key in _SIZES if key not in values]
    if missing:
        raise EncoderError(f"`{folder / 'config.json'}` lacks {', '.join(missing)}.")
    settings = BertSettings(
        **{key: values[key] for key in _SIZES},
        max_length=values.get("max_sequence_length", 512),
        num_segments=values.get("num_segments", 2),
        dropout=values.get("dropout", 0.1),
        activation=TANH_GELU,
    )
    check_heads(settings, folder / "config.json")
    vocabulary_file = folder / "assets" / "tokenizer" / "vocabulary.txt"
    vocabulary = read_vocabulary(vocabulary_file)
    check_vocabulary_size(vocabulary, settings, vocabulary_file)
    tokenizer = read_json(folder / "tokenizer.json").get("config", {})
    lower_case = tokenizer.get("lowercase", False)
    return BertCheckpoint(settings, vocabulary, lower_case, lower_case, _read_weights(folder / WEIGHTS_FILE, settings))


def _read_weights(path: Path, settings: BertSettings) -> dict[str, list[np.ndarray]]:
    tensors = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            tensors[_canonical(name)] = item[()]

    try:
        with h5py.File(path) as file:
            file.visititems(visit)
    except OSError as error:
        raise EncoderError(f"`{path}` is no readable HDF5 file: {error}") from error
    reader = TensorReader(path, tensors, "a BertBackbone")
    width, heads, inner = settings.hidden_dim, settings.num_heads, settings.intermediate_dim
    split = (heads, width // heads)

    def take(layer: str, *shapes: tuple[int, ...]) -> list[np.ndarray]:
        return [reader.take([f"{layer}/{index}"], shape) for index, shape in enumerate(shapes)]

    weights = {
        "token_embedding": take("token_embedding", (settings.vocabulary_size, width)),
        "position_embedding": take("position_embedding", (settings.max_length, width)),
        "segment_embedding": take("segment_embedding", (settings.num_segments, width)),
        "embeddings_layer_norm": take("embeddings_layer_norm", (width,), (width,)),
        "pooled_dense": take("pooled_dense", (width, width), (width,)),
    }
    for index in range(settings.num_layers):
        layer = f"transformer_layer_{index}"
        attention = f"{layer}/self_attention_layer"
        arrays = take(f"{layer}/self_attention_layer_norm", (width,), (width,))
        arrays += take(f"{layer}/feedforward_layer_norm", (width,), (width,))
        arrays += take(f"{layer}/feedforward_intermediate_dense", (width, inner), (inner,))
        arrays += take(f"{layer}/feedforward_output_dense", (inner, width), (width,))
        for part in ("query", "key", "value"):
            kernel, bias = take(f"{attention}/{part}_dense", (width, *split), split)
            arrays += [kernel.reshape(width, width), bias.reshape(width)]
        kernel, bias = take(f"{attention}/output_dense", (*split, width), (width,))
        arrays += [kernel.reshape(width, width), bias]
        weights[layer] = arrays
    reader.finish()
    return weights


def _canonical(name: str) -> str:
    """`layers/transformer_encoder_1/_self_attention_layer/query_dense/vars/0` without its file-format parts."""
    parts = [part.lstrip("_") for part in name.split("/")]
    parts = [part for part in parts if part not in ("layers", "layer_checkpoint_dependencies", "vars")]
    encoder = re.fullmatch(r"transformer_encoder(?:_(\d+))?", parts[0])
    if encoder:
        parts[0] = f"transformer_layer_{encoder.group(1) or 0}"
    parts[0] = _LAYER_NAMES.get(parts[0], parts[0])
    return "/".join(parts)
