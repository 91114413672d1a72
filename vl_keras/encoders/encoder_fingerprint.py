"""A hash that changes with everything that an image encoder's tokens follow from."""

import hashlib
import json
from typing import Any

import tf_keras as keras


def encoder_fingerprint(encoder: keras.Model) -> str:
    """Hash of an encoder's architecture, preprocessing and weights: 64 hexadecimal digits.

    It is the same in every process, and whether the encoder is frozen or not; layer names that Keras counts up do not
    matter. The mask is left out, since feature caches and search indexes were made before encoders had one.
    """
    outputs = {name: encoder.output[name] for name in ("image_tokens", "image_vector")}
    digest = hashlib.sha256()
    config = json.loads(keras.Model(encoder.input, outputs, name=encoder.name).to_json())["config"]
    digest.update(json.dumps(_canonical(config, _layer_names(config)), sort_keys=True).encode())
    for weight in encoder.weights:
        value = weight.numpy()
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def _layer_names(value: Any) -> dict[str, str]:
    """Every name that a model config gives, in order, with its place in that order."""
    names: dict[str, str] = {}

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("name"), str):
                names.setdefault(value["name"], f"name{len(names)}")
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)

    walk(value)
    return names


def _canonical(value: Any, names: dict[str, str]) -> Any:
    # How it is trained, and from where it was read, change nothing in what it computes.
    ignored = ("trainable", "training", "handle")
    if isinstance(value, dict):
        kept = {key: _canonical(item, names) for key, item in value.items() if key not in ignored}
        if isinstance(kept.get("module"), str):  # a layer that has moved is the layer that it was
            kept["module"] = kept["module"].replace("vl_keras.encoders.networks.", "vl_keras.encoders.")
        return kept
    if isinstance(value, list):
        return [_canonical(item, names) for item in value]
    return names.get(value, value) if isinstance(value, str) else value
