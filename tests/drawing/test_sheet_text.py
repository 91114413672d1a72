"""Text on sheets of images."""

import warnings

import pytest

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
