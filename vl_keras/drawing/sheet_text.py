"""Text on sheets of images: its font and its lines."""

import functools
import re
import textwrap
import warnings
from pathlib import Path

import matplotlib
from matplotlib import font_manager
from PIL import ImageFont

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


def sheet_font(text, size):
    """matplotlib's own font; for Chinese, Japanese or Korean text one of the system's that has it. Where there is
    none, the user is told once."""
    own = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    path = (_wide_font() or own) if _WIDE.search(text) else own
    return ImageFont.truetype(path, size)


def wrap_text(text, letters):
    """Lines of at most so many letters, half as many Chinese or Japanese ones, the second and later ones indented.

    A mark of punctuation that a space sets apart stays with its word.
    """
    bound = re.sub(r" (?=[.,!?;]( |$))", "\u00a0", text)
    width = letters // 2 if _WIDE.search(text) else letters
    return [
        line.replace("\u00a0", " ")
        for line in textwrap.wrap(bound, width, subsequent_indent="   ", break_on_hyphens=False)
    ]


@functools.cache
def _wide_font():
    paths = sorted(font_manager.findSystemFonts())
    found = next((path for name in _WIDE_FONTS for path in paths if name in Path(path).name.lower()), None)
    if found is None:
        warnings.warn(
            "No font of this system has Chinese, Japanese or Korean letters, so images show boxes in their place; "
            "install one, e.g. fonts-noto-cjk.",
            stacklevel=3,
        )
    return found
