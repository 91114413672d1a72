"""The look at the data finds the leaks, the unreadable files and the numbers that were put in."""

import io
import json

import numpy as np
import pytest
from miniature import photo
from PIL import Image

from vl_keras.config import config_from_dict
from vl_keras.data.leaks import find_leaks, mark_image
from vl_keras.training.inspect_data import format_report, inspect_data

KANJI = "一匹の犬"


def recoded(content, scale=1.0, **options):
    """The same image, saved once more, perhaps in another size."""
    image = Image.open(io.BytesIO(content))
    file = io.BytesIO()
    image.resize([round(side * scale) for side in image.size]).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def inspected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inspect")
    images = {f"train/{n}.jpg": photo(n, 64, 80) for n in range(9)}
    images |= {"dev/copy.jpg": photo(2, 64, 80), "dev/recoded.jpg": recoded(photo(5, 64, 80), 1.5, quality=80)}
    images |= {"dev/other.png": photo(70, 40, 48, "PNG"), "dev/flat.png": flat((200, 10, 10))}
    images |= {"test/flat.png": flat((10, 200, 10)), "test/wide.jpg": photo(80, 16, 4000)}
    images |= {"test/turned.jpg": turned(40, 120), "test/deep.png": deep(np.full((20, 30), 100 * 257, np.uint16))}
    images |= {"test/moving.webp": moving()}
    images |= {"test/cut.jpg": photo(81)[:-300], "test/noise.jpg": b"\xff\xd8\xff" + bytes(range(200))}
    rows = []
    for name, content in images.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        split = name.split("/")[0]
        captions = [f"A dog runs , {split} word {path.stem} ."] + ([KANJI, KANJI] if "other" in name else [])
        rows.append({"image": name, "captions": captions, "split": split, "context": "tag" if "copy" in name else ""})
    lines = [json.dumps(row) for row in rows] + ["no JSON"]
    (folder / "own.jsonl").write_text("\n".join(lines))
    data = {"manifest": str(folder / "own.jsonl"), "data_dir": str(folder / "data"), "max_pixels": 50_000}
    return inspect_data(config_from_dict({"data": data}), folder / "report"), folder / "report"


def flat(color):
    file = io.BytesIO()
    Image.new("RGB", (30, 20), color).save(file, "PNG")
    return file.getvalue()


def turned(height, width):
    """A red JPEG with a blue left half as stored, to be shown a quarter turn clockwise: blue on top."""
    image = Image.new("RGB", (width, height), (200, 0, 0))
    image.paste((0, 0, 200), (0, 0, width // 2, height))
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    image.save(file, "JPEG", quality=95, exif=exif)
    return file.getvalue()


def deep(levels):
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "PNG")
    return file.getvalue()


def moving():
    """An animated WebP image, which TensorFlow does not decode."""
    frames, file = [Image.open(io.BytesIO(photo(n))) for n in (90, 91)], io.BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
    return file.getvalue()


def test_leaks_are_found_and_nothing_else_is_one(inspected):
    report, _ = inspected
    assert sorted(report["leaks"]) == [
        ("train", "train/2.jpg", "dev", "dev/copy.jpg", "same file"),
        ("train", "train/5.jpg", "dev", "dev/recoded.jpg", "near-identical"),
    ]


def test_unreadable_files_are_found(inspected):
    report, folder = inspected
    unreadable = {name: reason for split, name, reason in report["unreadable"] if split in ("test", "")}
    assert len(unreadable) == len(report["unreadable"])  # the line of no split once, not once a split
    assert "data.max_pixels" in unreadable.pop("test/wide.jpg")
    assert "cut short" in unreadable.pop("test/cut.jpg")
    assert unreadable.pop("test/noise.jpg")
    assert unreadable.pop("test/moving.webp").startswith("unsupported: animated WebP images")
    assert "no JSON" in unreadable.pop("own.jsonl:21") and not unreadable
    assert len((folder / "unreadable.jsonl").read_text().splitlines()) == len(report["unreadable"])


def test_counts_and_statistics(inspected):
    report, folder = inspected
    train, dev = report["splits"]["train"], report["splits"]["dev"]
    assert [report["splits"][split]["images"] for split in ("train", "dev", "test")] == [9, 4, 7]
    assert train["words_per_caption"] == "6.0 (6, 6)"  # the comma and the full stop are no words
    assert train["heights"] == "64 / 64 / 64" and train["formats"] == "JPEG 9"
    assert (dev["captions"], dev["repeated_captions"], dev["contexts"]) == (6, 2, 1)
    assert dev["word_types"] == len({"a", "dog", "runs", "dev", "word", "copy", "recoded", "other", "flat", *KANJI})
    assert dev["unseen_word_share"] == f"{(4 * 2 + 2 * len(KANJI)) / (4 * 6 + 2 * len(KANJI)):.1%}"
    assert json.loads((folder / "report.json").read_text())["splits"] == json.loads(json.dumps(report["splits"]))
    text = format_report(report)
    assert (folder / "report.txt").read_text() == text
    for part in ("dev/recoded.jpg", "near-identical", "own.jsonl:21", "images", "contact_sheet_dev.png"):
        assert part in text


def test_questions_and_their_answers_are_counted(tmp_path):
    (tmp_path / "1.jpg").write_bytes(photo(1))
    (tmp_path / "2.jpg").write_bytes(photo(2))
    asked = [("1.jpg", "train", "yes\nyes\nno"), ("1.jpg", "train", "a dog"), ("2.jpg", "dev", "yes")]
    lines = [{"image": i, "split": split, "question": "what?", "answer": answer} for i, split, answer in asked]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = {"manifest": str(tmp_path / "own.jsonl"), "data_dir": str(tmp_path / "data")}
    report = inspect_data(config_from_dict({"data": data}), tmp_path / "report")
    train = report["splits"]["train"]
    assert (train["questions"], train["unanswered"], train["answers"]) == (2, 0, 3)
    assert train["frequent_answers"][0] == ("yes", 2)
    text = format_report(report)
    assert "most frequent answers in train: yes, no, a dog\n" in text and "most frequent answers in dev: yes\n" in text
    assert "most frequent words" not in text  # there is no caption


def test_a_contact_sheet_shows_the_images(inspected):
    _, folder = inspected
    for split, count in (("train", 9), ("dev", 4), ("test", 7)):
        sheet = np.asarray(Image.open(folder / f"contact_sheet_{split}.png"))
        assert sheet.shape[1] >= min(count, 6) * 230 and sheet.std() > 20
    red = (sheet_pixels(folder / "contact_sheet_dev.png") == (200, 10, 10)).all(axis=-1).sum()
    assert red > 230 * 153 * 0.9  # the flat image, enlarged


def test_images_are_shown_as_training_sees_them(inspected):
    _, folder = inspected
    pixels = sheet_pixels(folder / "contact_sheet_test.png").astype(int)
    blue, red = (np.abs(pixels - color).max(axis=-1) < 20 for color in ((0, 0, 200), (200, 0, 0)))
    assert blue.sum() > 230 * 30 and red.sum() > 230 * 30
    assert np.nonzero(blue)[0].max() < np.nonzero(red)[0].max()  # turned: one above the other, not side by side
    assert np.array_equal(np.unique(np.nonzero(blue)[1]), np.unique(np.nonzero(red)[1]))
    assert (pixels == 100).all(axis=-1).sum() > 230 * 140  # 16 bits a channel, cut to 8


def test_a_copy_that_was_turned_upright_is_near_identical():
    stored = turned(40, 120)
    upright = Image.open(io.BytesIO(stored)).transpose(Image.Transpose.ROTATE_270)
    file = io.BytesIO()
    upright.save(file, "JPEG")
    ours, theirs = (mark_image(content, (40, 120)) for content in (stored, file.getvalue()))
    ((*_, how),) = find_leaks({"train": (["a"], [ours]), "dev": (["b"], [theirs])})
    assert how == "near-identical"


def sheet_pixels(path):
    return np.asarray(Image.open(path).convert("RGB"))


def test_near_identical_by_brute_force():
    images = [photo(n) for n in range(40)]
    others = [recoded(images[n], 2.0) if n % 7 == 0 else photo(100 + n) for n in range(40)]
    splits = {}
    for name, contents in (("train", images), ("dev", others)):
        marks = [mark_image(content, (32, 48)) for content in contents]
        splits[name] = ([f"{name}{n}" for n in range(40)], marks)
    splits["train"][1][3] = None  # an unreadable one
    expected = [("train", f"train{n}", "dev", f"dev{n}", "near-identical") for n in range(0, 40, 7)]
    assert find_leaks(splits) == expected
