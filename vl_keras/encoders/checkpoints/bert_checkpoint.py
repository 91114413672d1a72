"""Reads BERT checkpoints: a folder with `config.json`, `vocab.txt` and `model.safetensors` in Hugging Face's names."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vl_keras.encoders.networks.bert_network import EXACT_GELU, TANH_GELU, BertSettings
from vl_keras.errors import EncoderError

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_ACTIVATIONS = {
    "gelu": EXACT_GELU,
    "gelu_new": TANH_GELU,
    "gelu_fast": TANH_GELU,
    "gelu_pytorch_tanh": TANH_GELU,
    "relu": "relu",
}
_KNOWN_WEIGHT_FILES = ("*.bin", "*.h5", "*.ckpt*", "*.msgpack", "*.pt", "*.safetensors", "*.safetensors.index.json")


@dataclass(frozen=True)
class BertCheckpoint:
    """What a module is made from."""

    settings: BertSettings
    vocabulary: list[str]
    lower_case: bool
    strip_accents: bool
    weights: dict | None  # layer name of `build_bert` -> arrays in Keras's order; None: random


class TensorReader:
    """Takes named tensors of known shapes out of a checkpoint, and tells all that is wrong with it at once."""

    def __init__(self, path: Path, tensors: Mapping[str, np.ndarray], kind: str) -> None:
        self.path, self.kind = path, kind
        self._tensors = tensors
        self._taken: set[str] = set()
        self._missing: list[str] = []
        self._wrong: list[str] = []

    def take(self, names: Sequence[str], shape: tuple[int, ...]) -> np.ndarray:
        """The float32 array under the first of `names` that is there; zeros after a fault, which `finish` raises."""
        name = next((name for name in names if name in self._tensors), None)
        if name is None:
            self._missing.append(f"{names[0]} {tuple(shape)}")
            return np.zeros(shape, np.float32)
        self._taken.add(name)
        tensor = self._tensors[name]
        if tuple(tensor.shape) != tuple(shape):
            self._wrong.append(f"{name} is {tuple(tensor.shape)}, expected {tuple(shape)}")
            return np.zeros(shape, np.float32)
        return np.asarray(tensor).astype(np.float32)

    def finish(self) -> None:
        """Raises `EncoderError` if a tensor was missing, had another shape, or was never asked for."""
        unexpected = sorted(set(self._tensors) - self._taken)
        faults = [
            f"{title}: {'; '.join(items[:20])}{f' and {len(items) - 20} more' if len(items) > 20 else ''}."
            for title, items in (
                ("missing tensors", self._missing),
                ("tensors of another shape", self._wrong),
                ("unexpected tensors", unexpected),
            )
            if items
        ]
        if faults:
            raise EncoderError(f"`{self.path}` is not {self.kind} of this config: {' '.join(faults)}")


def read_checkpoint(folder: str | Path, lower_case: bool | None = None) -> BertCheckpoint:
    """Reads a checkpoint folder, or a config alone.

    Args:
        folder: holds `config.json`; `vocab.txt`; `model.safetensors` (float16, bfloat16 or float32; names with or
            without a leading `bert.`); optionally `tokenizer_config.json`. Without weights the checkpoint's are None; a
            vocabulary may then be absent too, and single characters are used.
        lower_case: None: as `tokenizer_config.json` says, else false if the vocabulary holds upper-case words.

    Raises:
        EncoderError: a file is missing or unreadable, or tensors do not fit the config.
    """
    folder = Path(folder)
    config = read_json(folder / "config.json")
    settings = _settings(config, folder / "config.json")
    weights_file = folder / "model.safetensors"
    has_weights = weights_file.is_file()
    if not has_weights:
        others = sorted({path.name for pattern in _KNOWN_WEIGHT_FILES for path in folder.glob(pattern)})
        if others:
            raise EncoderError(
                f"`{folder}` holds weights in another form ({', '.join(others)}); one `model.safetensors` is wanted."
            )
    vocabulary_file = folder / "vocab.txt"
    if has_weights or vocabulary_file.is_file():
        vocabulary = read_vocabulary(vocabulary_file)
    else:
        vocabulary = character_vocabulary()
    check_vocabulary_size(vocabulary, settings, vocabulary_file)
    lower_case, strip_accents = _casing(folder / "tokenizer_config.json", vocabulary, lower_case)
    weights = _read_weights(weights_file, settings) if has_weights else None
    return BertCheckpoint(settings, vocabulary, lower_case, strip_accents, weights)


def read_vocabulary(path: Path) -> list[str]:
    """The tokens of a vocabulary file, one a line; BERT's special tokens must be among them."""
    try:
        tokens = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise EncoderError(f"There is no vocabulary `{path}`; one token a line is wanted.") from None
    except UnicodeDecodeError as error:
        raise EncoderError(f"The vocabulary `{path}` is not UTF-8: {error}.") from None
    tokens = [token.rstrip("\r") for token in tokens]
    tokens = tokens[:-1] if tokens[-1] == "" else tokens
    missing = [token for token in SPECIAL_TOKENS if token not in tokens]
    if missing:
        raise EncoderError(f"The vocabulary `{path}` lacks {', '.join(missing)}.")
    return tokens


def check_vocabulary_size(vocabulary: list[str], settings: BertSettings, path: Path) -> None:
    """Raises `EncoderError` if the vocabulary has more tokens than the network has embeddings."""
    if len(vocabulary) > settings.vocabulary_size:
        raise EncoderError(
            f"The vocabulary `{path}` has {len(vocabulary)} tokens, but the config's vocabulary size is "
            f"{settings.vocabulary_size}; it must be at least as large."
        )


def character_vocabulary() -> list[str]:
    """A small made vocabulary that spells any lower-case English text, for random networks."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    return [*SPECIAL_TOKENS, "[MASK]", *letters, *".,'?!-", *(f"##{letter}" for letter in letters)]


def read_json(path: Path) -> dict[str, Any]:
    """The dict in a JSON file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EncoderError(
            f"There is no `{path}`. A BERT checkpoint folder holds config.json, vocab.txt and model.safetensors; a "
            "keras-nlp preset holds config.json, tokenizer.json, assets/tokenizer/vocabulary.txt and model.weights.h5."
        ) from None
    except ValueError as error:
        raise EncoderError(f"`{path}` is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise EncoderError(f"`{path}` must hold an object; it holds a {type(value).__name__}.")
    return value


def check_heads(settings: BertSettings, path: Path) -> None:
    """Raises `EncoderError` if the width does not divide by the number of heads."""
    if settings.hidden_dim % settings.num_heads:
        raise EncoderError(
            f"`{path}`: the width must be divisible by the number of heads; "
            f"got {settings.hidden_dim} and {settings.num_heads}."
        )


def _settings(config: Mapping[str, Any], path: Path) -> BertSettings:
    wanted = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    missing = [key for key in wanted if key not in config]
    if missing:
        raise EncoderError(f"`{path}` lacks {', '.join(missing)}: it is no BERT config.")
    if config.get("model_type", "bert") != "bert":
        raise EncoderError(f"`{path}`: model_type must be bert; got {config['model_type']!r}.")
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise EncoderError(
            f"`{path}`: position_embedding_type must be absolute; got {config['position_embedding_type']!r}."
        )
    activation = config.get("hidden_act", "gelu")
    if activation not in _ACTIVATIONS:
        raise EncoderError(f"`{path}`: hidden_act must be one of {', '.join(_ACTIVATIONS)}; got {activation!r}.")
    settings = BertSettings(
        vocabulary_size=config["vocab_size"],
        num_layers=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        hidden_dim=config["hidden_size"],
        intermediate_dim=config["intermediate_size"],
        max_length=config.get("max_position_embeddings", 512),
        num_segments=config.get("type_vocab_size", 2),
        activation=_ACTIVATIONS[activation],
        epsilon=config.get("layer_norm_eps", 1e-12),
        dropout=config.get("hidden_dropout_prob", 0.1),
        initializer_range=config.get("initializer_range", 0.02),
    )
    check_heads(settings, path)
    return settings


def _casing(path: Path, vocabulary: list[str], lower_case: bool | None) -> tuple[bool, bool]:
    config = read_json(path) if path.is_file() else {}
    if lower_case is None:
        lower_case = config.get("do_lower_case")
    if lower_case is None:
        lower_case = not any(token != token.lower() and not token.startswith("[") for token in vocabulary)
    strip_accents = config.get("strip_accents")
    strip_accents = lower_case if strip_accents is None else strip_accents
    if strip_accents and not lower_case:
        raise EncoderError(f"`{path}`: accents can only be stripped from lower-cased text; do_lower_case is false.")
    return lower_case, strip_accents


def _read_weights(path: Path, settings: BertSettings) -> dict[str, list[np.ndarray]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise EncoderError(f"`{path}` is no readable safetensors file: {error}") from error
    if any(name.startswith("bert.") for name in tensors):
        # Beside `bert.` lie the heads of what it was trained for; the encoder has no use for them.
        tensors = {name.removeprefix("bert."): value for name, value in tensors.items() if name.startswith("bert.")}
    tensors.pop("embeddings.position_ids", None)  # a buffer: 0, 1, 2, ...
    reader = TensorReader(path, tensors, "a BERT")
    width, inner = settings.hidden_dim, settings.intermediate_dim

    def dense(name: str, inputs: int, outputs: int) -> list[np.ndarray]:
        return [reader.take([f"{name}.weight"], (outputs, inputs)).T, reader.take([f"{name}.bias"], (outputs,))]

    def norm(name: str) -> list[np.ndarray]:
        names = ([f"{name}.weight", f"{name}.gamma"], [f"{name}.bias", f"{name}.beta"])
        return [reader.take(pair, (width,)) for pair in names]

    def embedding(name: str, rows: int) -> list[np.ndarray]:
        return [reader.take([f"embeddings.{name}.weight"], (rows, width))]

    weights = {
        "token_embedding": embedding("word_embeddings", settings.vocabulary_size),
        "position_embedding": embedding("position_embeddings", settings.max_length),
        "segment_embedding": embedding("token_type_embeddings", settings.num_segments),
        "embeddings_layer_norm": norm("embeddings.LayerNorm"),
        "pooled_dense": dense("pooler.dense", width, width),
    }
    for index in range(settings.num_layers):
        layer = f"encoder.layer.{index}"
        arrays = norm(f"{layer}.attention.output.LayerNorm") + norm(f"{layer}.output.LayerNorm")
        arrays += dense(f"{layer}.intermediate.dense", width, inner)
        arrays += dense(f"{layer}.output.dense", inner, width)
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            arrays += dense(f"{layer}.attention.{part}", width, width)
        weights[f"transformer_layer_{index}"] = arrays
    reader.finish()
    return weights
