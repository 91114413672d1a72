"""Settings in words, for signatures of measures and titles of sheets."""

import dataclasses
from pathlib import Path

from vl_keras.config import GenerationConfig

# What matters to each way of generating; the rest of `GenerationConfig` is named where it is not at its default.
_ALWAYS_NAMED = {"greedy": (), "beam": ("beam_size", "length_penalty"), "sample": ("seed",)}
_ONLY_BEAM, _ONLY_SAMPLE = ("beam_size", "length_penalty", "num_captions"), ("temperature", "top_k", "top_p", "seed")


def dataset_name(data):
    """Name of the data of a `DataConfig`: the manifest's, or the dataset's."""
    return Path(data.manifest).stem if data.manifest else data.dataset


def describe_data(data, split):
    """Dict of what a `DataConfig` says of measures of a split, for their signature."""
    return {"dataset": dataset_name(data), "split": split, "image_size": "x".join(map(str, data.image_size))}


def describe_generation(generation):
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


def describe_signature(signature):
    """The dict of a task's `signature` in words, e.g. "easy_vqa dev at 64x64, 399 images, 3897 questions, …"."""
    words = [f"{signature['dataset']} {signature['split']} at {signature['image_size']}"]
    for name, value in signature.items():
        if name in ("images", "pairs", "texts", "questions", "folds", "annotators", "candidates"):
            words.append(f"{value} {name.removesuffix('s') if str(value) == '1' else name}")
        elif name == "weights":
            words.append(f"{value} weights")
        elif name not in ("dataset", "split", "image_size"):
            words.append(f"{name.replace('_', ' ')} {value}")
    return ", ".join(words)
