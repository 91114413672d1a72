"""Images are found by words and by images."""

import os

import numpy as np
import pytest
import tensorflow as tf
from color_run import ColorTask, make_color_run
from PIL import Image

from vl_keras.cli.main import main
from vl_keras.errors import RetrievalError, RunError
from vl_keras.retrieval.vector_index import VectorIndex
from vl_keras.search.image_search import ImageSearch
from vl_keras.search.index_images import index_images
from vl_keras.search.search_images import format_results, search_images


@pytest.fixture
def index(color_run, photos, tmp_path):
    index_images(color_run, [photos], tmp_path / "index")
    return tmp_path / "index"


def test_words_find_images(index):
    search = ImageSearch(index)
    vectors, rows = VectorIndex.open(index).vectors, VectorIndex.open(index).rows
    for color in ("red", "green", "blue", "yellow"):
        matches = search.by_text(color, 12)
        assert {match.path.split("/")[-2] for match in matches[:3]} == {color}
        query = ColorTask(1.0).embed_texts(None, tf.constant([color])).numpy()[0]
        cosines = {row["path"]: float(v @ query) for row, v in zip(rows, vectors.astype(np.float64), strict=True)}
        assert [match.rank for match in matches] == list(range(1, 13))
        assert [match.path for match in matches] == sorted(cosines, key=cosines.get, reverse=True)
        np.testing.assert_allclose([match.score for match in matches], sorted(cosines.values())[::-1], atol=1e-6)


def test_an_image_finds_itself_first(index, photos):
    search = ImageSearch(index)
    for path in photos.glob("*/1.bmp"):
        first, second, *_ = search.by_image(path, 5)
        assert first.path == str(path) and first.score == pytest.approx(1.0, abs=1e-6)
        assert second.path.split("/")[-2] == path.parent.name


def test_an_image_asks_without_a_pipeline_of_its_own(index, photos, tmp_path, monkeypatch):
    search = ImageSearch(index)
    monkeypatch.setattr("vl_keras.search.image_embedder.load_images", None)
    assert [search.by_image(path, 1)[0].path for path in sorted(photos.glob("*/*.bmp"))] == [
        str(path) for path in sorted(photos.glob("*/*.bmp"))
    ]
    (tmp_path / "junk.jpg").write_bytes(b"no image")
    with pytest.raises(RunError, match="junk.jpg` cannot be read: unsupported: the bytes are no JPEG"):
        search.by_image(tmp_path / "junk.jpg")


def test_the_run_may_have_moved(index, color_run, tmp_path):
    moved = color_run.rename(tmp_path / "moved")
    with pytest.raises(RunError, match="run` holds no run"):
        search_images(index, text="red")
    assert len(search_images(index, text="red", run_dir=moved, top=3)) == 3
    other = make_color_run(tmp_path / "other", scale=2.0)
    with pytest.raises(RetrievalError, match="another encoder"):
        search_images(index, text="red", run_dir=other)


def test_the_command_prints_a_table_and_draws(index, photos, tmp_path, capsys):
    sheet = tmp_path / "new" / "found.png"
    (photos / "red" / "0.bmp").unlink()
    (photos / "red" / "1.bmp").write_bytes(b"no image any more")
    assert main(["search", str(index), "--text", "red", "--top", "7", "--sheet", str(sheet)]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [int(rank) for rank, _, _ in lines] == [1, 2, 3, 4, 5, 6, 7]
    assert {path for _, _, path in lines[:3]} == {str(photos / "red" / f"{number}.bmp") for number in range(3)}
    assert all(-1 <= float(score) <= 1 for _, score, _ in lines)
    drawn = np.asarray(Image.open(sheet).convert("RGB")).astype(int)
    red = (drawn[..., 0] > 150) & (drawn[..., 1:] < 100).all(-1)
    grey = (drawn == 211).all(-1)
    assert red.sum() > 20_000 and grey.sum() > 60_000  # the red image that is left, tiles for the two that are not


def test_an_image_as_the_query_is_drawn_on_top(index, photos, tmp_path):
    sheet = tmp_path / "found.png"
    found = search_images(index, image=photos / "blue" / "1.bmp", top=1000, sheet=sheet)
    assert len(found) == 12 and format_results(found).startswith(f"1\t1.0000\t{photos}/blue/1.bmp\n2\t0.9")
    drawn = np.asarray(Image.open(sheet).convert("RGB")).astype(int)
    blue = (drawn[..., 2] > 150) & (drawn[..., :2] < 100).all(-1)
    assert blue.sum() > 3.9 * 200 * 150  # the query and the three that were found


@pytest.mark.parametrize(
    "query, message",
    [
        ({}, "a text or an image"),
        ({"text": "red", "image": "a.bmp"}, "not both"),
        ({"text": " "}, "text is empty"),
        ({"image": "absent.jpg"}, "image `absent.jpg` cannot be read: No such file"),
        ({"text": "red", "top": 0}, "at least 1; got 0"),
        ({"text": "red", "sheet": "found.jpg"}, "does not end in .png"),
    ],
)
def test_what_cannot_be_done_is_said(index, query, message):
    with pytest.raises(RunError, match=message):
        search_images(index, **query)


def test_names_that_are_not_utf_8(color_run, photos, tmp_path, capsys):
    name = os.fsdecode(b"caf\xe9.bmp")
    (photos / "red" / "0.bmp").rename(photos / name)
    index_images(color_run, [photos / name], tmp_path / "index")
    sheet = tmp_path / "found.png"
    arguments = ["search", str(tmp_path / "index"), "--image", str(photos / name), "--sheet", str(sheet)]
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"1\t1.0000\t{photos}/caf?.bmp\n"
    assert sheet.exists()


def test_an_empty_index_finds_nothing(index, photos, tmp_path, capsys):
    index_images(None, [], index, delete=[photos])
    capsys.readouterr()
    assert main(["search", str(index), "--text", "red", "--sheet", str(tmp_path / "found.png")]) == 0
    told = capsys.readouterr()
    assert told.out == "" and f"note: `{index}` holds no image" in told.err


def test_no_index(tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("absent", "file"):
        with pytest.raises(RetrievalError, match=f"{name}` holds no index"):
            search_images(tmp_path / name, text="red")
