"""Contact sheets: tiles, bands, frames and letters."""

import numpy as np
import pytest
from PIL import Image

from vl_keras.drawing.contact_sheet import RIGHT, Band, Tile, draw_contact_sheet, message_image

GREEN = (0, 128, 0)


def image(color, height=30, width=60):
    return np.full((height, width, 3), color, np.uint8)


def draw(path, *sections, **settings):
    draw_contact_sheet(path, "a title", sections, **settings)
    return np.asarray(Image.open(path).convert("RGB"))


def count(sheet, color):
    return int((sheet == color).all(axis=-1).sum())


def test_tiles_fill_rows_from_left_to_right(tmp_path):
    colors = [(200, 0, 0), (0, 0, 200), (200, 200, 0)]
    tiles = [Tile(image(color), [("a line", "black")]) for color in colors]
    sheet = draw(tmp_path / "sheet.png", ("heading", tiles), side=50, columns=2)
    assert sheet.shape[1] == 2 * (50 + 12) + 12
    (y0, x0), (y1, x1), (y2, x2) = (np.argwhere((sheet == color).all(axis=-1)).min(axis=0) for color in colors)
    assert y0 == y1 < y2 and x0 == x2 < x1
    assert [count(sheet, color) for color in colors] == [50 * 25] * 3


def test_a_frame_has_its_color_and_a_tile_without_one_has_none(tmp_path):
    tile = Tile(image((200, 200, 200)), ())
    assert count(draw(tmp_path / "plain.png", ("", [tile])), GREEN) == 0
    assert count(draw(tmp_path / "framed.png", ("", [tile._replace(frame=RIGHT)])), GREEN) > 0


def test_long_lines_are_wrapped_and_make_the_row_higher(tmp_path):
    short, long = ([Tile(image(0), [(text, "black")])] for text in ("word", "word " * 30))
    assert len(draw(tmp_path / "long.png", ("", long))) > len(draw(tmp_path / "short.png", ("", short)))


def test_a_band_shows_all_of_its_strip_over_several_lines(tmp_path):
    color = (10, 200, 30)
    small = Image.new("RGB", (20, 10), color)
    band = Band(image(0), [("a caption", "black", 17)], [("word", small)] * 9)
    sheet = draw(tmp_path / "sheet.png", ("", [band]), side=140, columns=2)
    assert count(sheet, color) == 9 * small.width * small.height
    one, two = (len(draw(tmp_path / "sheet.png", ("", [band._replace(strip=[("w", small)] * n)]))) for n in (1, 60))
    assert two > one


def test_notes_stand_beside_their_figure(tmp_path):
    color = (90, 10, 160)
    figure = Image.new("RGB", (40, 100), color)
    sheet = draw(tmp_path / "sheet.png", notes=["a note"], figure=figure)
    assert count(sheet, color) == 40 * 100
    top, left = np.argwhere((sheet == color).all(axis=-1)).min(axis=0)
    beside = np.argwhere((sheet[top : top + 100] == 105).all(axis=-1))  # dimgray
    assert len(beside) and beside[:, 1].min() >= left + 40


def test_a_message_is_written_on_grey():
    drawn = message_image("no such file", 100)
    assert drawn.shape == (100, 100, 3) and drawn.dtype == np.uint8
    assert count(drawn, (0, 0, 0)) > 0 and count(drawn, (211, 211, 211)) > 5000
    assert (drawn != message_image("an empty file", 100)).any()


@pytest.mark.parametrize("one, other", [("кот", "дом"), ("żółć", "łóść"), ("γάτα", "λύκο")])
def test_it_has_letters_beyond_ascii(tmp_path, one, other):
    """A font draws the same box for every letter that it lacks."""

    def drawn(caption, reference, word):
        lines = [(caption, "black", 17), (reference, "gray", 13)]
        band = Band(image(0), lines, [(word, Image.new("RGB", (84, 84)))])
        return draw(tmp_path / "sheet.png", ("", [band])).tobytes()

    assert len({drawn(one, one, one), drawn(other, one, one), drawn(one, other, one), drawn(one, one, other)}) == 4
