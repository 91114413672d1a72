"""Captions for anybody's pictures."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from vl_keras.data.builders.shapes_scene import draw_scene, sample_scene
from vl_keras.training.errors import TrainingError
from vl_keras.training.predict import format_failures, predict
from vl_keras.training.run_dir import load_run

# A run of seconds writes next to nothing by itself.
LONGER = ["generation.min_length=5", "generation.no_repeat_ngram=2"]


def _scene(number, height=40, width=56):
    return draw_scene(sample_scene(f"predict {number}", height, width))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder with pictures of all kinds, and with files that are none."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "deeper").mkdir()
    _scene(0).save(folder / "color.jpg")
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
    (folder / "words.jpg").write_text("no picture")
    (folder / "notes.txt").write_text("not looked at")
    return folder


@pytest.fixture(scope="module")
def predicted(trained_run, pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "captions.jsonl"
    seen = []
    images = [pictures, pictures / "absent.jpg"]
    predictions = predict(trained_run, images, out=out, overrides=LONGER, report=seen.append)
    assert seen == predictions
    return predictions, [json.loads(line) for line in out.read_text("utf-8").splitlines()]


def test_every_kind_of_picture_gets_a_caption_and_a_bad_one_costs_itself(predicted, pictures):
    status = {prediction.path.removeprefix(f"{pictures}/"): prediction.status for prediction in predicted[0]}
    bad = {name: status.pop(name) for name in ("cut.jpg", "empty.png", "words.jpg", "absent.jpg")}
    assert list(status) == [
        "alpha.png", "cmyk.jpeg", "color.jpg", "deeper/grey.PNG", "grey_alpha.png", "one pixel.png", "palette.gif", "wide.bmp",
    ]  # fmt: skip
    assert set(status.values()) == {"ok"}
    assert all(prediction.caption for prediction in predicted[0] if prediction.status == "ok")
    assert "cut short" in bad["cut.jpg"] and "no bytes" in bad["empty.png"] and "No such file" in bad["absent.jpg"]
    listed = format_failures(predicted[0])
    assert listed.startswith("4 of 12 pictures could not be read:")
    assert all(name in listed for name in bad)


def test_the_json_lines_say_the_same(predicted):
    assert len(predicted[0]) == len(predicted[1])
    for prediction, row in zip(*predicted, strict=True):
        assert (row["image"], row["status"]) == (prediction.path, prediction.status)
        if prediction.status == "ok":
            assert (row["caption"], tuple(row["captions"])) == (prediction.caption, prediction.captions)
            assert row["score"] == pytest.approx(prediction.score)
        else:
            assert set(row) == {"image", "status"}


def test_a_neighbour_changes_nothing(trained_run, pictures, predicted):
    together = {prediction.path: prediction for prediction in predicted[0]}
    path = str(pictures / "palette.gif")
    (alone,) = predict(trained_run, [path], overrides=LONGER)
    assert alone.caption == together[path].caption
    assert alone.score == pytest.approx(together[path].score, abs=1e-4)


def test_a_picture_is_turned_as_its_exif_orientation_says(trained_run, tmp_path):
    scene = _scene(7, 48, 64)
    scene.save(tmp_path / "upright.jpg", quality=95, subsampling=0)
    exif = Image.Exif()
    exif[0x112] = 6  # shown after a quarter turn clockwise
    scene.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", quality=95, subsampling=0, exif=exif)
    scene.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "as_stored.jpg", quality=95, subsampling=0)
    names = ["upright.jpg", "turned.jpg", "as_stored.jpg"]
    upright, turned, stored = predict(trained_run, [tmp_path / name for name in names], overrides=LONGER)
    assert turned.caption == upright.caption
    assert abs(turned.score - upright.score) < 0.2 * abs(stored.score - upright.score)


def test_what_is_predicted_is_what_was_measured(trained_run, tmp_path):
    """A file gets the caption that its picture gets as an example of the development split."""
    _, task, captioner, _ = load_run(trained_run, overrides=LONGER)
    captions = task.caption_split(captioner, "dev", limit=4)
    for caption in captions:
        content = task.source("dev").read_images([caption.index])[0]
        (tmp_path / f"{caption.index}.{Image.open(io.BytesIO(content)).format.lower()}").write_bytes(content)
    for caption, prediction in zip(captions, predict(trained_run, [tmp_path], overrides=LONGER), strict=True):
        assert prediction.caption == caption.caption
        assert prediction.score == pytest.approx(caption.score, abs=1e-4)


def test_several_captions_best_first(trained_run, pictures):
    overrides = [*LONGER, "generation.method=beam", "generation.beam_size=3", "generation.num_captions=3"]
    (prediction,) = predict(trained_run, [pictures / "color.jpg"], overrides=overrides)
    assert len(set(prediction.captions)) == 3
    assert prediction.captions[0] == prediction.caption


def test_explanations_are_named_after_their_pictures(trained_run, pictures, predicted, tmp_path):
    (one,) = predict(trained_run, [pictures / "color.jpg"], explain=tmp_path / "new" / "one.png", overrides=LONGER)
    assert one.explanation == str(tmp_path / "new" / "one.png")
    assert one.caption == next(p for p in predicted[0] if p.path == one.path).caption
    (tmp_path / "again").mkdir()
    Image.open(pictures / "color.jpg").save(tmp_path / "again" / "color.png")
    images = [pictures / "color.jpg", pictures / "cut.jpg", tmp_path / "again"]
    predictions = predict(trained_run, images, explain=tmp_path / "all.png", overrides=LONGER)
    assert [p.explanation for p in predictions] == [
        str(tmp_path / "all-color.png"),
        None,
        str(tmp_path / "all-color-2.png"),
    ]
    for path in (one.explanation, predictions[0].explanation, predictions[2].explanation):
        assert np.asarray(Image.open(path)).std() > 10


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"images": []}, "no picture"),
        ({"explain": "out.jpg"}, "does not end in .png"),
        ({"context": "at the sea"}, "has no text encoder"),
        ({"overrides": ["training.epochs=2"]}, "Only data.… and generation.…"),
        ({"weights": "ema2"}, "must be auto, best, last or ema"),
    ],
)
def test_what_cannot_be_done_is_said(trained_run, pictures, arguments, message):
    images = arguments.pop("images", [pictures / "color.jpg"])
    with pytest.raises(TrainingError, match=message):
        predict(trained_run, images, **arguments)


def test_a_folder_without_pictures_is_an_error(trained_run, tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(TrainingError, match="no picture"):
        predict(trained_run, [tmp_path])
