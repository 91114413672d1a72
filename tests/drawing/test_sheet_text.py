"""Text on sheets of images."""

import warnings

import pytest
from PIL import Image, ImageDraw

from vl_keras.drawing import sheet_text


@pytest.fixture
def system_fonts(monkeypatch):
    """Function of file names that makes them the system's fonts."""

    def install(*names):
        monkeypatch.setattr(sheet_text.font_manager, "findSystemFonts", lambda: list(names))
        sheet_text._wide_font.cache_clear()

    yield install
    sheet_text._wide_font.cache_clear()


def test_a_system_without_wide_letters_is_told_of_once_and_only_where_they_are_wanted(system_fonts):
    system_fonts("/fonts/Lato.ttf")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        own = sheet_text.sheet_font("a dog", 12)
    with pytest.warns(UserWarning, match="install one, e.g. fonts-noto-cjk") as told:
        assert sheet_text.sheet_font("一只狗", 12).path == own.path
        sheet_text.sheet_font("犬がいる", 12)
    assert len(told) == 1


def test_a_font_with_wide_letters_is_taken_for_them(system_fonts, tmp_path):
    wide = tmp_path / "NotoSansCJK-Regular.ttf"
    wide.write_bytes(open(sheet_text.sheet_font("a", 9).path, "rb").read())
    system_fonts("/fonts/Lato.ttf", str(wide))
    assert sheet_text.sheet_font("一只狗", 12).path == str(wide)
    assert sheet_text.sheet_font("a dog", 12).path != str(wide)


@pytest.mark.parametrize(
    "text", ["holiday_in_norway_0001.jpg", "wwwwwwwwwwwwwwwwwwwww", "i" * 500, "two\nlines of a text"]
)
def test_a_cut_text_fits_keeps_its_beginning_and_ends_in_an_ellipsis(text):
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    font = sheet_text.sheet_font(text, 12)
    flat = text.replace("\n", " ")
    for width in (0, 7, 40, 100, 10_000):
        cut = sheet_text.cut_text(pen, text, font, width)
        assert pen.textlength(cut, font) <= width
        assert cut == flat or cut == "" or (cut[-1] == "…" and flat.startswith(cut[:-1]))
        if width >= 40 and cut != flat:  # more letters would be too wide; a space at the end is dropped
            assert pen.textlength(flat[: len(cut) + 1] + "…", font) > width


def test_the_last_line_of_a_text_that_is_too_long_ends_in_an_ellipsis():
    lines = sheet_text.wrap_text("word " * 100, 20, 3)
    assert len(lines) == 3 and lines[-1].endswith("…") and max(map(len, lines)) <= 20
    assert sheet_text.wrap_text("word", 20, 3) == ["word"]
