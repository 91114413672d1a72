"""Text on sheets of images: fonts, line breaks and cuts."""

import bisect
import functools
import re
import textwrap
import warnings
from pathlib import Path

import matplotlib
from matplotlib import font_manager
from PIL import ImageDraw, ImageFont

_WIDE = re.compile("[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]")
_WIDE_FONTS = (
    "cjk",
    "hiragino",
    "yugoth",
    "msgothic",
    "simhei",
    "wqy",
    "ipag",
    "takao",
    "droidsansfallback",
    "unifont",
)


def sheet_font(text: str, size: int) -> ImageFont.FreeTypeFont:
    """Font for a text: matplotlib's own or, for Chinese, Japanese or Korean, a suitable one of the system.

    If the system has no such font, a warning is issued once.

    Args:
        text: the text to draw.
        size: font size in pixels.
    """
    own = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    path = (_wide_font() or own) if _WIDE.search(text) else own
    return _font(str(path), size)


def wrap_text(text: str, letters: int, most_lines: int | None = None) -> list[str]:
    """Breaks a text into lines; all but the first are indented.

    A punctuation mark after a space stays on the line of the word before it.

    Args:
        text: the text to break.
        letters: largest number of letters in a line; half as many if the text is Chinese, Japanese or Korean.
        most_lines: largest number of lines; the last one then ends in an ellipsis. None: any number.
    """
    width = max(5, letters // 2 if _WIDE.search(text) else letters)
    if most_lines is not None:
        text = text[: (width + 1) * (most_lines + 2)]  # enough to fill more lines than that
    bound = re.sub(r" (?=[.,!?;]( |$))", "\u00a0", text)
    lines = textwrap.wrap(bound, width, subsequent_indent="   ", break_on_hyphens=False)
    if most_lines is not None and len(lines) > most_lines:
        lines = lines[:most_lines]
        lines[-1] = lines[-1][: width - 1] + "…"
    return [line.replace("\u00a0", " ") for line in lines]


def cut_text(pen: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """Shortens a text at its end, with an ellipsis, until it is at most `width` pixels wide.

    Line breaks become spaces.
    """
    text = " ".join(text.splitlines()) or text
    if pen.textlength(text, font) <= width:
        return text
    kept = bisect.bisect(range(len(text)), width, key=lambda count: pen.textlength(f"{text[:count]}…", font)) - 1
    return f"{text[:kept].rstrip()}…" if kept > 0 else ""


@functools.cache
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


@functools.cache
def _wide_font() -> str | None:
    paths = sorted(font_manager.findSystemFonts())
    found = next((path for name in _WIDE_FONTS for path in paths if name in Path(path).name.lower()), None)
    if found is None:
        warnings.warn(
            "No font of this system has Chinese, Japanese or Korean letters, so images show boxes instead; install "
            "one, e.g. fonts-noto-cjk.",
            stacklevel=3,
        )
    return found
