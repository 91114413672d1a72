"""A contact sheet of captioned images, with references and the attention of each word."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from vl_keras.drawing.attention_map import fit, overlay_with_scale
from vl_keras.drawing.contact_sheet import Band, draw_contact_sheet
from vl_keras.drawing.example_sheet import source_image

if TYPE_CHECKING:
    from vl_keras.tasks.captioning import Caption, CaptioningTask
    from vl_keras.tasks.writing.explain_captions import Explainer, Explanation

_TILE = 84  # pixels of the longer side of a word's image
_SCALE = 10  # pixels of the letters of a scale
_REFERENCES = 5
_NOTE = "small images: share of the word's attention weight in each region of the image, each on its own scale"


def draw_run_sheet(
    task: CaptioningTask,
    explainer: Explainer,
    captions: Sequence[Caption],
    split: str,
    path: str | Path,
    title: str = "",
) -> None:
    """Writes a PNG with a band for each image: the image, its caption, its references, and a tile for each word.

    Args:
        task: the task that read the images.
        explainer: explainer of the captioner that wrote the captions, with the same settings.
        captions: the captions to show.
        split: name of their split.
        path: PNG file to write.
        title: heading of the sheet.
    """
    source = task.source(split)
    explanations = _explanations(task, explainer, captions, split)
    bands = [
        _band(source_image(source, caption.index), caption, explanation)
        for caption, explanation in zip(captions, explanations, strict=True)
    ]
    draw_contact_sheet(path, title, [("", bands)], [_NOTE] if any(band.strip for band in bands) else [])


def _explanations(
    task: CaptioningTask, explainer: Explainer, captions: Sequence[Caption], split: str
) -> list[Explanation]:
    """Writes each caption again, with attention weights."""
    wanted = {caption.index for caption in captions}
    rows: dict[int, dict[str, tf.Tensor]] = {}
    for inputs, indices in task.evaluation_data(explainer.captioner, split, explainer.batch_size):
        for place, index in enumerate(indices.numpy()):
            if index in wanted:
                rows[index] = {name: value[place] for name, value in inputs.items()}
        if len(rows) == len(wanted):
            break
    found: list[Explanation] = []
    for start in range(0, len(captions), explainer.batch_size):
        batch = [rows[caption.index] for caption in captions[start : start + explainer.batch_size]]
        found += explainer({name: tf.stack([row[name] for row in batch]) for name in batch[0]})[0]
    return found


def _band(image: np.ndarray, caption: Caption, explanation: Explanation) -> Band:
    lines = [(caption.caption or "(an empty caption)", "black", 17)]
    lines += [(reference, "gray", 13) for reference in caption.references[:_REFERENCES]]
    if caption.context:
        lines.append((f"context: {caption.context}", "steelblue", 13))
    tile = fit(image, _TILE)
    # Tokens that have no place in the image have no maps.
    attention: Any = explanation.attention if explanation.attention is not None else []
    strip = [
        (word, overlay_with_scale(tile, weights, _SCALE, mark=False))
        for word, weights in zip(explanation.words, attention, strict=len(attention) > 0)
        if any(map(str.isalnum, word))
    ]
    return Band(image, lines, strip)
