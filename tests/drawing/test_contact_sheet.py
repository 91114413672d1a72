"""Contact sheets: tiles, bands, frames and letters."""

import numpy as np
import pytest
from PIL import Image

from vl_keras.drawing import contact_sheet
from vl_keras.drawing.contact_sheet import RIGHT, Band, Tile, draw_contact_sheet, message_image
from vl_keras.drawing.sheet_limits import MAX_SIDE

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


@pytest.mark.parametrize("lines, columns", [([("a line", "black")], 4), ([("word " * 200, "black")], 1)])
def test_no_sheet_is_larger_than_its_limit_and_the_rest_is_counted(tmp_path, monkeypatch, lines, columns):
    headings = []
    draw_heading = contact_sheet._heading
    monkeypatch.setattr(
        contact_sheet, "_heading", lambda *args, **named: headings.append(args[0]) or draw_heading(*args, **named)
    )
    tile = Tile(image((200, 0, 0), 10, 10), lines, name="a.jpg")
    sheet = draw(tmp_path / "sheet.png", ("", [tile._replace() for _ in range(5000)]), side=100, columns=columns)
    assert max(sheet.shape) <= MAX_SIDE
    shown = count(sheet, (200, 0, 0)) // 100**2
    assert headings[-1] == f"and {5000 - shown} more"
    assert shown >= (MAX_SIDE // 112) * 7  # as many columns as there is room for


def test_columns_are_added_before_anything_is_left_out(tmp_path):
    tiles = [Tile(image((200, 0, 0), 10, 10), ()) for _ in range(100)]
    few, many = (draw(tmp_path / "sheet.png", ("", tiles[:n]), side=100, columns=2) for n in (10, 100))
    assert few.shape[1] == 2 * 112 + 12 < many.shape[1]
    assert count(many, (200, 0, 0)) == 100 * 100**2


def test_bands_texts_and_titles_without_end_are_cut(tmp_path):
    small = Image.new("RGB", (20, 10), (10, 200, 30))
    band = Band(image(0), [("word " * 5000, "black", 17)], [("word", small)] * 2000)
    path = tmp_path / "sheet.png"
    draw_contact_sheet(path, "title " * 9000, [("heading " * 900, [band] * 30)], ["note " * 9000])
    assert max(Image.open(path).size) <= MAX_SIDE


@pytest.mark.parametrize("name", ["n" * 400 + ".jpg", "short.jpg"])
def test_a_long_name_is_one_line_that_stays_below_its_tile(tmp_path, name):
    plain, named = (Tile(image((200, 0, 0)), (), name=text) for text in ("s", name))
    one, two = (draw(tmp_path / "sheet.png", ("", [tile] * 2), side=100, columns=2) for tile in (plain, named))
    assert one.shape == two.shape
    assert (two[:, 12 + 100 : 12 + 112] == 255).all()  # the gap between the tiles
