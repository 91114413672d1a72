"""easy-VQA's layout, as a miniature that the test writes, and the real archive."""

import json
from collections import Counter

import pytest
from miniature import data_config, images_of, photo, write_folder, write_zip

from vl_keras.data.builders.easy_vqa import question_kind
from vl_keras.data.source import open_source
from vl_keras.errors import DataError

TRAIN, TEST = range(41), range(3)  # numbers of images; both parts begin with 0
SEEDS = {"train": 0, "test": 1000}  # of the images, so that 0.png differs between the parts


def questions(part, number):
    return [
        [f"what color is the shape of {part}?", "blue", number],
        ["what is the blue shape?", "circle", number],
        ["is there a circle?", "yes", number],
    ]


def part_files(part, numbers, more=()):
    rows = [row for number in numbers for row in questions(part, number)]
    return {
        "answers.txt": b"blue\ncircle\nyes\n",
        f"{part}/questions.json": json.dumps(rows + list(more)).encode(),
        **{f"{part}/images/{n}.png": photo(SEEDS[part] + n, kind="PNG") for n in numbers},
    }


def write_part(folder, part, numbers, packed=True, more=()):
    if packed:
        write_zip(folder / f"easy_vqa_{part}.zip", part_files(part, numbers, more))
    else:
        write_folder(folder, part_files(part, numbers, more))


def easy_vqa(folder, manual_dir=None):
    return data_config(folder, dataset="easy_vqa", manual_dir=str(manual_dir or folder))


def questions_of(source):
    return {
        name: [(row["question"], row["answer"], row["kind"]) for row in rows]
        for name, rows in zip(source.image_ids, source.questions, strict=True)
    }


@pytest.mark.parametrize("packed", [(True, True), (False, False), (True, False)], ids=["zips", "folders", "both"])
def test_reads_both_parts_packed_or_not_and_keeps_them_apart(tmp_path, packed):
    write_part(tmp_path, "train", TRAIN, packed[0])
    write_part(tmp_path, "test", TEST, packed[1])
    config = easy_vqa(tmp_path)
    train, dev, test = (open_source(config, split) for split in ("train", "dev", "test"))
    names = {f"train/images/{n}.png": n for n in TRAIN}
    assert images_of(train) | images_of(dev) == {name: photo(n, kind="PNG") for name, n in names.items()}
    assert images_of(test) == {f"test/images/{n}.png": photo(1000 + n, kind="PNG") for n in TEST}
    assert 1 <= len(dev) <= 10 and len(train) + len(dev) == 41
    for part, sources in (("train", (train, dev)), ("test", (test,))):
        expected = [
            (f"what color is the shape of {part}?", "blue", "color"),
            ("what is the blue shape?", "circle", "shape"),
            ("is there a circle?", "yes", "yes_no"),
        ]
        for source in sources:
            assert all(rows == expected for rows in questions_of(source).values())
            assert not source.quarantine.rows and not source.notes


def test_the_held_out_images_stay_when_others_come(tmp_path):
    for name, numbers in (("few", TRAIN[:30]), ("many", TRAIN)):
        (tmp_path / name).mkdir()
        write_part(tmp_path / name, "train", numbers)
    few, many = (set(open_source(easy_vqa(tmp_path / name), "dev").image_ids) for name in ("few", "many"))
    assert few == {name for name in many if int(name.split("/")[-1][:-4]) < 30}


def test_without_the_test_part_there_is_no_test_split(tmp_path):
    write_part(tmp_path, "train", TRAIN)
    with pytest.raises(DataError, match="there are: train, dev.*easy_vqa_test.zip"):
        open_source(easy_vqa(tmp_path), "test")
    write_part(tmp_path, "test", TEST)
    assert len(open_source(easy_vqa(tmp_path), "test")) == 3


def test_what_cannot_be_used_costs_itself_and_is_listed(tmp_path):
    more = [
        ["no answer", 0],
        "abc",
        None,
        [7, "yes", 0],
        ["is it?", "yes", "0"],
        ["is it?", " ", 0],
        ["is it?", "yes", 99],
        {"question": "is it?"},
    ]
    write_part(tmp_path, "test", TEST, packed=False, more=more)
    (tmp_path / "test" / "images" / "1.png").write_bytes(b"<html>")
    source = open_source(easy_vqa(tmp_path), "test")
    assert sorted(source.image_ids) == ["test/images/0.png", "test/images/2.png"]
    reasons = dict(source.quarantine.rows)
    assert "not a JPEG" in reasons.pop("test/images/1.png")
    assert "no such image" in reasons.pop("test/images/99.png")
    assert reasons.pop("test/questions.json row 15").endswith("is empty")
    assert list(reasons) == [f"test/questions.json row {n}" for n in (10, 11, 12, 13, 14, 17)]
    assert set(reasons.values()) == {"the row is not [question, answer, image number]"}


@pytest.mark.parametrize(
    "question, answer, kind",
    [
        ("does the image not contain a gray shape?", "yes", "yes_no"),
        ("is no red shape present?", "no", "yes_no"),
        ("what is the color of the shape?", "teal", "color"),
        ("What Shape is present?", "triangle", "shape"),
        ("what is it?", "a circle", ""),
    ],
)
def test_the_kind_says_what_is_asked_for(question, answer, kind):
    assert question_kind(question, answer) == kind


def test_what_is_missing_or_broken_is_named(tmp_path):
    with pytest.raises(DataError, match="set `data.manual_dir`.*easy_vqa_train.zip"):
        open_source(data_config(tmp_path, dataset="easy_vqa"), "train")
    config = easy_vqa(tmp_path)
    with pytest.raises(DataError, match="`data.manual_dir`.*easy_vqa_train.zip"):
        open_source(config, "train")
    (tmp_path / "train" / "images").mkdir(parents=True)
    (tmp_path / "train" / "images" / "0.png").write_bytes(photo(0, kind="PNG"))
    for content, message in ((b"[[", "questions.json.*not JSON"), (b"{}", "train/questions.json must be a list")):
        (tmp_path / "train" / "questions.json").write_bytes(content)
        with pytest.raises(DataError, match=message):
            open_source(config, "train")
    (tmp_path / "train" / "questions.json").unlink()
    files = part_files("train", TRAIN)
    write_zip(tmp_path / "easy_vqa_train.zip", files)
    content = bytearray((tmp_path / "easy_vqa_train.zip").read_bytes())
    content[content.find(files["train/questions.json"]) + 5] ^= 1
    (tmp_path / "easy_vqa_train.zip").write_bytes(content)
    with pytest.raises(DataError, match="questions.json.*damaged in its archive.*get the file again"):
        open_source(config, "train")


@pytest.mark.slow
def test_the_real_archive(tmp_path, shared_dir):
    config = easy_vqa(tmp_path, shared_dir / "data" / "easy_vqa")
    sources = {split: open_source(config, split) for split in ("train", "dev")}
    kinds = {
        split: Counter(row["kind"] for rows in source.questions for row in rows) for split, source in sources.items()
    }
    assert {split: len(source) for split, source in sources.items()} == {"train": 3601, "dev": 399}
    assert kinds["train"] == {"yes_no": 25549, "color": 4624, "shape": 4505}
    assert kinds["dev"] == {"yes_no": 2858, "color": 542, "shape": 497}
    answers = {row["answer"] for source in sources.values() for rows in source.questions for row in rows}
    assert len(answers) == 13 and not any(source.quarantine.rows for source in sources.values())
