"""The settings that a decoder is built from, and those that it generates with."""

import dataclasses
from typing import Any

from vl_keras.config import GenerationConfig

DECODER_SETTINGS = (  # keys of `model` that the decoder and the reader before it are built from
    "decoder",
    "hidden_dim",
    "num_heads",
    "num_layers",
    "image_layers",
    "intermediate_dim",
    "dropout",
    "image_dropout",
    "word_dropout",
)


def writing_settings(generation: GenerationConfig) -> dict[str, Any]:
    """Arguments of `generate` for a `GenerationConfig` and the ids of a `CaptionTokenizer`."""
    from vl_keras.data.text_ops import CaptionTokenizer as Ids

    settings = dataclasses.asdict(generation)
    del settings["memory"]
    return {
        **settings,
        "start_id": Ids.START,
        "end_id": Ids.END,
        "forbidden_ids": (Ids.PAD, Ids.UNK, Ids.START),
    }
