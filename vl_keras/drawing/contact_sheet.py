"""One image of many examples, with their captions: what the model will be shown."""

import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vl_keras.data.open_image import open_image
from vl_keras.drawing.sheet_text import sheet_font, wrap_text

_COLUMNS = 6
_TILE = 230  # pixels each way for an image
_MARGIN = 10
_LINE = 15  # pixels a line of text
_CAPTIONS = 5
_LETTERS = 38  # a line
_MAX_LINES = 17
_BOX_COLOR = (255, 0, 160)


def draw_contact_sheet(source, path, title="", count=24):
    """Writes a PNG of `count` examples spread evenly over `source`, with boxes, captions and the first question.

    Args:
        source: a `Source`; of the images in its `quarantine` the reason is shown.
        path: PNG file to write.
        title: shown above.
        count: examples, at most.
    """
    chosen = np.unique(np.linspace(0, len(source) - 1, min(count, len(source))).astype(int))
    columns = min(_COLUMNS, len(chosen))
    texts = [_lines(source, index) for index in chosen]
    rows = [range(start, min(start + columns, len(chosen))) for start in range(0, len(chosen), columns)]
    heights = [_TILE + _LINE * max(len(texts[i]) for i in row) + 2 * _MARGIN for row in rows]
    width = columns * (_TILE + _MARGIN) + _MARGIN
    sheet = Image.new("RGB", (width, sum(heights) + 3 * _MARGIN + _LINE), "white")
    draw = ImageDraw.Draw(sheet)
    written = "".join(line for lines in texts for line in lines)
    font = sheet_font(written, 11)
    heading = f"{title}: {len(chosen)} of {len(source)} examples"
    draw.text((_MARGIN, _MARGIN), heading, "black", sheet_font(written, 15))
    top = 3 * _MARGIN + _LINE
    for row, height in zip(rows, heights, strict=True):
        for column, i in enumerate(row):
            left = _MARGIN + column * (_TILE + _MARGIN)
            tile = _tile(source, chosen[i])
            sheet.paste(tile, (left + (_TILE - tile.width) // 2, top + _TILE - tile.height))
            for number, line in enumerate(texts[i]):
                color = "gray" if number == 0 else "black"
                draw.text((left, top + _TILE + 4 + number * _LINE), line, color, font)
        top += height
    sheet.save(path)


def _tile(source, index):
    reason = dict(source.quarantine.rows).get(source.image_ids[index])
    if reason:  # shown in its place
        tile = Image.new("RGB", (_TILE, _TILE), "lightgray")
        message = textwrap.fill(f"unreadable: {reason}", 30)
        ImageDraw.Draw(tile).text((_MARGIN, _MARGIN), message, "black", ImageFont.load_default(12))
        return tile
    _, image = open_image(source.read_images([index])[0], _TILE)
    scale = _TILE / max(image.size)
    size = [max(round(side * scale), 1) for side in image.size]
    tile = image.resize(size, Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(tile)
    for item in source.objects[index]:
        y0, x0, y1, x1 = item["bbox"]
        draw.rectangle((x0 * size[0], y0 * size[1], x1 * size[0], y1 * size[1]), outline=_BOX_COLOR)
    return tile


def _lines(source, index):
    lines = [source.image_ids[index][-_LETTERS:]]
    for caption in source.captions[index][:_CAPTIONS]:
        lines += wrap_text(f"• {caption}", _LETTERS)
    if source.contexts[index]:
        lines += wrap_text(f"context: {source.contexts[index]}", _LETTERS)
    for row in source.questions[index][:1]:
        lines += wrap_text(f"{row['question']} {row['answer']}", _LETTERS)
    return lines if len(lines) <= _MAX_LINES else [*lines[: _MAX_LINES - 1], "..."]
