"""Captions for anybody's images."""

import io
import json
import os

import numpy as np
import pytest
from PIL import Image

from vl_keras.data.builders.shapes_scene import draw_scene, sample_scene
from vl_keras.data.image_files import drawing_paths, find_images
from vl_keras.errors import RunError
from vl_keras.inference.predict import format_failures, predict
from vl_keras.runs.load_run import load_run

# A run of seconds writes next to nothing by itself.
SETTINGS = ["generation.min_length=5", "generation.no_repeat_ngram=2"]
SETTINGS += ["generation.method=beam", "generation.beam_size=2", "generation.num_captions=2"]


def _scene(number, height=40, width=56):
    return draw_scene(sample_scene(f"predict {number}", height, width))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder with images of all kinds, and with files that are none."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "deeper").mkdir()
    _scene(0).save(folder / "color.jpg")
    _scene(8).save(folder / "deeper" / "color.jpg")
    _scene(1).convert("L").save(folder / "deeper" / "grey.PNG")
    _scene(2).convert("CMYK").save(folder / "cmyk.jpeg")
    see_through = _scene(3).convert("RGBA")
    see_through.putalpha(99)
    see_through.save(folder / "alpha.png")
    _scene(4).convert("LA").save(folder / "grey_alpha.png")
    _scene(5, 17, 131).save(folder / "wide.bmp")
    _scene(6).quantize(16).save(folder / "palette.gif")
    Image.new("RGB", (1, 1), "red").save(folder / "one pixel.png")
    whole = (folder / "color.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "words.jpg").write_text("no image")
    (folder / "notes.txt").write_text("not looked at")
    scene = _scene(7, 48, 64)
    scene.save(folder / "deeper" / "upright.jpg", quality=95, subsampling=0)
    exif = Image.Exif()
    exif[0x112] = 6  # shown after a quarter turn clockwise
    on_its_side = scene.transpose(Image.Transpose.ROTATE_90)
    on_its_side.save(folder / "deeper" / "turned.jpg", quality=95, subsampling=0, exif=exif)
    on_its_side.save(folder / "deeper" / "as_stored.jpg", quality=95, subsampling=0)
    return folder


@pytest.fixture(scope="module")
def predicted(trained_run, photos, tmp_path_factory):
    """Predictions by path below the folder, the rows of the JSONL file, and the folder of the explanations."""
    out = tmp_path_factory.mktemp("out")
    seen = []
    predictions = predict(
        trained_run,
        [photos, photos / "absent.jpg"],
        out=out / "new" / "captions.jsonl",
        explain=out / "drawn" / "all.png",
        overrides=SETTINGS,
        report=seen.append,
    )
    assert seen == predictions
    lines = (out / "new" / "captions.jsonl").read_text("utf-8").splitlines()
    by_name = {prediction.path.removeprefix(f"{photos}/"): prediction for prediction in predictions}
    return by_name, [json.loads(line) for line in lines], out / "drawn"


def test_every_kind_of_image_gets_a_caption_and_a_bad_one_costs_itself(predicted):
    status = {name: prediction.status for name, prediction in predicted[0].items()}
    bad = {name: status.pop(name) for name in ("cut.jpg", "empty.png", "words.jpg", "absent.jpg")}
    assert list(status) == [
        "alpha.png", "cmyk.jpeg", "color.jpg", "deeper/as_stored.jpg", "deeper/color.jpg", "deeper/grey.PNG",
        "deeper/turned.jpg", "deeper/upright.jpg", "grey_alpha.png", "one pixel.png", "palette.gif", "wide.bmp",
    ]  # fmt: skip
    assert set(status.values()) == {"ok"}
    assert (
        "cut short" in bad["cut.jpg"] and "no image bytes" in bad["empty.png"] and "No such file" in bad["absent.jpg"]
    )
    listed = format_failures(list(predicted[0].values()))
    assert listed.startswith("4 of 16 images could not be read:")
    assert all(name in listed for name in bad)


def test_several_captions_best_first(predicted):
    for prediction in predicted[0].values():
        if prediction.status == "ok":
            assert len(set(prediction.output["captions"])) == 2
            assert prediction.line == prediction.output["caption"] == prediction.output["captions"][0] != ""
            best, second = prediction.output["scores"]
            assert prediction.output["score"] == best > second


def test_the_json_lines_say_the_same(predicted):
    assert len(predicted[0]) == len(predicted[1])
    for prediction, row in zip(predicted[0].values(), predicted[1], strict=True):
        assert (row["image"], row["status"]) == (prediction.path, prediction.status)
        assert {name: value for name, value in row.items() if name not in ("image", "status")} == prediction.output
        assert bool(prediction.output) == (prediction.status == "ok")


def test_a_name_that_is_not_utf8_can_be_read_back(trained_run, tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    _scene(0).save(path)
    predict(trained_run, [tmp_path], out=tmp_path / "captions.jsonl")
    (line,) = (tmp_path / "captions.jsonl").read_text("utf-8").splitlines()
    assert json.loads(line)["image"] == str(path) and json.loads(line)["status"] == "ok"


def test_an_image_is_turned_as_its_exif_orientation_says(predicted):
    upright, turned, stored = (predicted[0][f"deeper/{name}.jpg"] for name in ("upright", "turned", "as_stored"))
    assert turned.line == upright.line
    scores = [prediction.output["score"] for prediction in (upright, turned, stored)]
    assert abs(scores[1] - scores[0]) < 0.2 * abs(scores[2] - scores[0])


def test_explanations_are_named_after_their_images(predicted):
    drawn = {name: prediction.explanation for name, prediction in predicted[0].items()}
    assert drawn["color.jpg"] == str(predicted[2] / "all-color.png")
    assert drawn["deeper/color.jpg"] == str(predicted[2] / "all-color-2.png")
    assert drawn["cut.jpg"] is None
    assert sorted(map(str, predicted[2].iterdir())) == sorted(filter(None, drawn.values()))
    for path in filter(None, drawn.values()):
        assert np.asarray(Image.open(path)).std() > 10


def test_alone_it_is_as_among_others(trained_run, photos, predicted, tmp_path):
    drawing = tmp_path / "new" / "one.png"
    (alone,) = predict(trained_run, [photos / "palette.gif"], explain=drawing, overrides=SETTINGS)
    among = predicted[0]["palette.gif"]
    assert alone.output["captions"] == among.output["captions"]
    assert alone.output["score"] == pytest.approx(among.output["score"], abs=1e-4)
    assert alone.explanation == str(drawing) and drawing.exists()


def test_what_is_predicted_is_what_was_measured(trained_run, tmp_path):
    """A file gets the caption that its image gets as an example of the development split."""
    _, task, captioner, _ = load_run(trained_run, overrides=SETTINGS)
    captions = task.caption_split(captioner, "dev", limit=4)
    for caption in captions:
        content = task.source("dev").read_images([caption.index])[0]
        (tmp_path / f"{caption.index}.{Image.open(io.BytesIO(content)).format.lower()}").write_bytes(content)
    for caption, prediction in zip(captions, predict(trained_run, [tmp_path], overrides=SETTINGS), strict=True):
        assert prediction.line == caption.caption
        assert prediction.output["score"] == pytest.approx(caption.score, abs=1e-4)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"images": []}, "no image"),
        ({"explain": "out.jpg"}, "does not end in .png"),
        ({"inputs": {"context": ["at the sea"]}}, "has no text encoder"),
        ({"inputs": {"question": ["what?"]}}, "is a captioning run: it takes --context, not --question"),
        ({"inputs": {"text": ["a dog"], "question": ["what?"]}}, "not --text or --question"),
        ({"overrides": ["training.epochs=2"]}, "only data.…, generation.… can be set"),
    ],
)
def test_what_cannot_be_done_is_said(trained_run, photos, arguments, message):
    images = arguments.pop("images", [photos / "color.jpg"])
    with pytest.raises(RunError, match=message):
        predict(trained_run, images, **arguments)


def test_a_folder_without_images_is_an_error(trained_run, tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(RunError, match="no image"):
        predict(trained_run, [tmp_path])


def test_a_folder_gives_its_images_by_every_usual_ending_and_nothing_else(tmp_path):
    # Phones' HEIC and the like cannot be read, but a folder of them must not look empty: they are listed as not read.
    names = ["a.JPG", "b.jfif", "c.png", "d/e.webp", "d/f.gif", "i.HEIC", "j.tif"]
    for name in [*names, "g.txt", "h", "d/i.json"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    assert find_images([tmp_path]) == [tmp_path / name for name in names]


def test_links_to_folders_are_followed_and_no_folder_is_searched_twice(tmp_path):
    photos, elsewhere = tmp_path / "photos", tmp_path / "elsewhere"
    for folder in (photos / "2024", elsewhere / "deep"):
        folder.mkdir(parents=True)
        (folder / "a.jpg").touch()
    (photos / "more").symlink_to(elsewhere)
    (photos / "again").symlink_to(photos / "2024")
    (elsewhere / "round").symlink_to(photos)
    assert find_images([photos]) == [photos / "2024/a.jpg", photos / "more/deep/a.jpg"]


def test_no_image_is_drawn_over(tmp_path):
    image, link = tmp_path / "dog.png", tmp_path / "link.png"
    link.symlink_to(image)
    for explain in (image, link, tmp_path / "sub" / ".." / "dog.png"):
        with pytest.raises(RunError, match="is one of the images and would be drawn over"):
            drawing_paths(explain, [image])
    assert drawing_paths(image, [image], count=2) == [tmp_path / "dog-1.png", tmp_path / "dog-2.png"]
