"""Images of a split with what the model wrote, what people wrote, and where it looked."""

import tensorflow as tf
from PIL import Image, ImageDraw

from vl_keras.data.image_ops import decode_image
from vl_keras.drawing.attention_drawing import fit, overlay
from vl_keras.drawing.sheet_text import sheet_font, wrap_text

_WIDTH = 1280
_IMAGE = 170  # pixels of the image's longer side
_TILE = 84
_GAP = 12
_LINE = 17
_LETTERS = 130
_REFERENCES = 5


def draw_run_sheet(task, explainer, captions, split, path, title=""):
    """Writes a PNG with a band for each image: the image, its caption, its references, and a tile a word.

    Args:
        task: a `CaptioningTask`.
        explainer: an `Explainer` of the captioner that wrote them, with the same settings.
        captions: the `Caption`s to show.
        split: name of the split they are of.
        path: PNG file to write.
        title: shown above.
    """
    source = task.source(split)
    explanations = _explanations(task, explainer, captions, split)
    bands = []
    for caption, explanation in zip(captions, explanations, strict=True):
        image = decode_image(tf.constant(source.read_images([caption.index])[0])).numpy()
        bands.append(_band(image, caption, explanation))
    top = _GAP + 30
    sheet = Image.new("RGB", (_WIDTH, top + sum(band.height for band in bands)), "white")
    ImageDraw.Draw(sheet).text((_GAP, _GAP), title, "black", sheet_font(title, 17))
    for band in bands:
        sheet.paste(band, (0, top))
        top += band.height
    sheet.save(path)


def _explanations(task, explainer, captions, split):
    """`Explanation` of each, written anew with attention."""
    wanted = {caption.index for caption in captions}
    rows = {}
    for inputs, indices in task.evaluation_data(explainer.captioner, split, explainer.batch_size):
        for place, index in enumerate(indices.numpy()):
            if index in wanted:
                rows[index] = {name: value[place] for name, value in inputs.items()}
        if len(rows) == len(wanted):
            break
    found = []
    for start in range(0, len(captions), explainer.batch_size):
        batch = [rows[caption.index] for caption in captions[start : start + explainer.batch_size]]
        found += explainer({name: tf.stack([row[name] for row in batch]) for name in batch[0]})[0]
    return found


def _band(image, caption, explanation):
    large, tile = fit(image, _IMAGE), fit(image, _TILE)
    left = _IMAGE + 2 * _GAP
    lines = [(line, "black", 17) for line in wrap_text(caption.caption or "(an empty caption)", _LETTERS - 30)]
    for reference in caption.references[:_REFERENCES]:
        lines += [(line, "gray", 13) for line in wrap_text(reference, _LETTERS)]
    if caption.context:
        lines += [(line, "steelblue", 13) for line in wrap_text(f"context: {caption.context}", _LETTERS)]
    across = max(1, (_WIDTH - left) // (tile.width + 6))
    words = [
        (word, weights)
        for word, weights in zip(explanation.words, explanation.attention, strict=True)
        if any(map(str.isalnum, word))
    ]
    rows = -(-len(words) // across)
    text_height = sum(size + 5 for _, _, size in lines) + 4
    height = max(large.height, text_height + rows * (tile.height + _LINE + 6)) + 2 * _GAP
    band = Image.new("RGB", (_WIDTH, height), "white")
    pen = ImageDraw.Draw(band)
    pen.line((0, 0, _WIDTH, 0), "lightgray")
    band.paste(large, (_GAP, _GAP))
    y = _GAP
    for line, color, size in lines:
        pen.text((left, y), line, color, sheet_font(line, size))
        y += size + 5
    for place, (word, weights) in enumerate(words):
        x = left + place % across * (tile.width + 6)
        top = _GAP + text_height + place // across * (tile.height + _LINE + 6)
        pen.text((x, top), _cut(pen, word, tile.width), "black", sheet_font(word, 13))
        band.paste(overlay(tile, weights, mark=False), (x, top + _LINE))
    return band


def _cut(pen, word, width):
    font = sheet_font(word, 13)
    while word and pen.textlength(word, font) > width:
        word = word[:-2] + "…" if len(word) > 2 else ""
    return word
