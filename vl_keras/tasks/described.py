"""Settings in words, for signatures of metrics and titles of sheets."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vl_keras.config import DataConfig, GenerationConfig

# Settings that are always named for a method; the other ones are named if they differ from their defaults.
_ALWAYS_NAMED: dict[str, tuple[str, ...]] = {"greedy": (), "beam": ("beam_size", "length_penalty"), "sample": ("seed",)}
_ONLY_BEAM, _ONLY_SAMPLE = ("beam_size", "length_penalty", "num_captions"), ("temperature", "top_k", "top_p", "seed")


def dataset_name(data: DataConfig) -> str:
    """The name of a config's data: that of the manifest, or of the dataset."""
    return Path(data.manifest).stem if data.manifest else data.dataset


def describe_data(data: DataConfig, split: str) -> dict[str, Any]:
    """The part of a signature that describes the data: `dataset`, `split` and `image_size`."""
    return {"dataset": dataset_name(data), "split": split, "image_size": "x".join(map(str, data.image_size))}


def describe_generation(generation: GenerationConfig) -> str:
    """A `GenerationConfig` in words, e.g. "beam 3, length penalty 0.7, max length 28"."""
    default = GenerationConfig()
    words = [generation.method]
    for field in dataclasses.fields(generation):
        name, value = field.name, getattr(generation, field.name)
        useless = (name in _ONLY_BEAM and generation.method != "beam") or (
            name in _ONLY_SAMPLE and generation.method != "sample"
        )
        if name in ("method", "num_captions", "memory") or useless:
            continue
        if name == "consensus_weight":
            if generation.memory:
                words.append(f"consensus weight {value:g} with {Path(generation.memory).name}")
            continue
        if name == "beam_size":
            words[0] += f" {value}"
        elif name in _ALWAYS_NAMED[generation.method] or value != getattr(default, name):
            words.append(f"{name.replace('_', ' ')} {value:g}")
    return ", ".join(words)


def describe_signature(signature: Mapping[str, Any]) -> str:
    """The signature of metrics in words, e.g. "easy_vqa dev at 64x64, 399 images, 3897 questions, …"."""
    words = [f"{signature['dataset']} {signature['split']} at {signature['image_size']}"]
    for name, value in signature.items():
        if name in ("images", "pairs", "texts", "questions", "folds", "annotators", "candidates"):
            words.append(f"{value} {name.removesuffix('s') if str(value) == '1' else name}")
        elif name == "weights":
            words.append(f"{value} weights")
        elif name not in ("dataset", "split", "image_size"):
            words.append(f"{name.replace('_', ' ')} {value}")
    return ", ".join(words)
