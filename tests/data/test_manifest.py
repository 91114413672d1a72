"""A manifest of one's own: every good line is read, every bad one costs itself, and no image is in two splits."""

import csv
import dataclasses
import io
import json
import os
import shutil
import unicodedata

import pytest
from miniature import captions_of, data_config, images_of, photo

from vl_keras.data.builders.caption_files import hashed_share
from vl_keras.data.source import open_source
from vl_keras.errors import DataError


def write(folder, rows, images=None):
    """A manifest of these rows (dicts, or raw lines) and the images they name."""
    lines = [row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode() for row in rows]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "own.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    named = [row["image"] for row in rows if isinstance(row, dict) and isinstance(row.get("image"), str)]
    for number, name in enumerate(dict.fromkeys(named) if images is None else images):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo(number))
    return data_config(folder, manifest=str(folder / "own.jsonl"))


def row(image, *captions, **more):
    return {"image": image, "captions": list(captions), **more}


def test_lines_become_examples(tmp_path):
    config = write(
        tmp_path,
        [
            row("a/1.jpg", "  a dog ", "ein Hund läuft", split="train", context="tags: dog"),
            row("2.png", "一只狗在跑", split="val"),
            row("3.jpg", "no split means train"),
            row("4.jpg", "held out", split="test", note="a key of the user's own is passed over", content="x"),
            {"image": "5.jpg", "question": "is it a dog?", "answer": "no\n", "split": "test", "context": None},
            {"image": "5.jpg", "captions": None, "question": "is it a cat?", "answer": "yes", "split": "test"},
            b"",
        ],
    )
    train, dev, test = (open_source(config, split) for split in ("train", "dev", "test"))
    assert captions_of(train) == {"a/1.jpg": ["a dog", "ein Hund läuft"], "3.jpg": ["no split means train"]}
    assert captions_of(dev) == {"2.png": ["一只狗在跑"]}
    assert captions_of(test) == {"4.jpg": ["held out"], "5.jpg": []}
    assert dict(zip(train.image_ids, train.contexts, strict=True)) == {"a/1.jpg": "tags: dog", "3.jpg": ""}
    assert test.questions[test.image_ids.index("5.jpg")] == [
        {"question": "is it a dog?", "answer": "no", "kind": ""},
        {"question": "is it a cat?", "answer": "yes", "kind": ""},
    ]
    assert images_of(train) == {"a/1.jpg": photo(0), "3.jpg": photo(2)}
    assert not (train.quarantine.rows or dev.quarantine.rows or train.notes)


def test_lines_of_one_image_are_joined_and_an_image_stays_in_one_split(tmp_path):
    config = write(
        tmp_path,
        [
            row("1.jpg", "first"),
            row("./1.jpg", "second", context="later"),
            row("1.jpg", "third", split="dev"),
            row("2.jpg", "other", split="dev"),
        ],
    )
    train, dev = open_source(config, "train"), open_source(config, "dev")
    assert captions_of(train) == {"1.jpg": ["first", "second"]} and train.contexts == ["later"]
    assert captions_of(dev) == {"2.jpg": ["other"]}
    ((name, reason),) = dev.quarantine.rows
    assert name == "own.jsonl:3" and "split train already (line 1)" in reason


BAD = {
    b"[" * 100_000: "no JSON",
    b'{"image": "1.jpg", "captions": ["half \\ud83d a character"]}': "no JSON",
    b'{"image": "1.jpg", "captions": ["cut sh': "no JSON",
    b'["1.jpg", "a list"]': "JSON object",
    b'{"captions": ["no image"]}': "no `image`",
    b'{"image": "1.jpg", "caption": ["a typo"]}': "no `captions` and no `question`; is `caption` meant?",
    b'{"image": "1.jpg", "quesion": "why?", "answer": "so"}': "no `captions` and no `question`; is `quesion` meant?",
    b"1.jpg\ta dog\tmatch": "no JSON object (Extra data: line 1 column 2 (char 1)); lines of IMAGE<tab>TEXT<tab>",
    b'{"image": "1.jpg", "captions": null}': "no `captions` and no `question`",
    b'{"image": "1.jpg", "captions": ["a"], "Split": "dev"}': "no `split`; is `Split` meant?",
    b'{"image": "1.jpg", "captions": ["a"], "spilt": "dev"}': "no `split`; is `spilt` meant?",
    b'{"image": "1.jpg", "captions": ["a"], "splt": "dev"}': "no `split`; is `splt` meant?",
    b'{"image": "1.jpg", "captions": ["a"], "contexts": "x"}': "no `context`; is `contexts` meant?",
    b'{"image": "1.jpg", "captions": "a string"}': "`captions` must be a list of strings",
    b'{"image": "1.jpg", "captions": ["", "empty"]}': "`captions` must be a list of strings",
    b'{"image": "1.jpg", "captions": []}': "`captions` is empty",
    b'{"image": "", "captions": ["a"]}': "`image` is empty",
    b'{"image": 7, "captions": ["a"]}': "`image` must be a string; it is 7",
    b'{"image": "1.jpg", "captions": ["a"], "split": "holdout"}': "`split` must be train, dev or test; it is 'holdout'",
    b'{"image": "1.jpg", "captions": ["a"], "context": ["x"]}': "`context` must be a string",
    b'{"image": "1.jpg", "question": "why?"}': "`question` and `answer` belong together",
    b'{"image": "1.jpg", "question": " ", "answer": "yes"}': "`question` is empty",
    b'{"image": "1.jpg", "question": "why?", "answer": ""}': "`answer` is empty",
    b'{"image": "1.jpg", "captions": ["\xff\xfe"]}': "not UTF-8",
}


def test_a_bad_line_costs_itself_and_is_listed_with_its_number_and_reason(tmp_path):
    long = "a" * 300 + ".jpg"  # longer than a file's name can be
    last = [row("2.jpg", "x", split="dev"), json.dumps(row(long, "no file")).encode()]
    config = write(tmp_path, [*BAD, row("1.jpg", "good"), row("gone.jpg", "no file"), *last])
    (tmp_path / "gone.jpg").unlink()
    train = open_source(config, "train")
    assert captions_of(train) == {"1.jpg": ["good"]}
    reasons = dict(train.quarantine.rows)
    for number, reason in enumerate(BAD.values(), 1):
        assert reason in reasons.pop(f"own.jsonl:{number}")
    assert list(reasons) == ["gone.jpg", long]
    assert f"line {len(BAD) + 2}: there is no such file" in reasons["gone.jpg"]
    assert f"line {len(BAD) + 4}: there is no such file" in reasons[long]


def test_a_file_that_is_no_image_costs_itself(tmp_path):
    config = write(tmp_path, [row(f"{n}.jpg", "text", split="dev") for n in range(3)])
    (tmp_path / "1.jpg").write_bytes(b"<html>")
    source = open_source(config, "dev")
    assert sorted(source.image_ids) == ["0.jpg", "2.jpg"]
    assert source.quarantine.rows == [("1.jpg", "not a JPEG, PNG, GIF, BMP or WebP file")]


def test_a_dev_split_is_taken_from_the_training_images_and_stays(tmp_path):
    rows = [row(f"{n}.jpg", f"image {n}") for n in range(101)] + [row("t.jpg", "test", split="test")]
    config = write(tmp_path / "few", rows[20:])
    few = set(open_source(config, "dev").image_ids)
    config = write(tmp_path / "many", rows)
    train, dev, test = (open_source(config, split) for split in ("train", "dev", "test"))
    many = set(dev.image_ids)
    assert few == {name for name in many if int(name[:-4]) >= 20}
    assert 3 <= len(many) <= 20 and not many & set(train.image_ids) and test.image_ids == ["t.jpg"]
    assert len(many) + len(train) == 101
    assert f"{len(many)} of its 101 training images" in train.notes[0] and "dev split" in train.notes[0]


def test_two_images_suffice_for_a_dev_split_and_one_does_not(tmp_path):
    config = write(tmp_path / "two", [row("1.jpg", "a"), row("2.jpg", "b")])
    assert len(open_source(config, "train")) == len(open_source(config, "dev")) == 1
    config = write(tmp_path / "one", [row("1.jpg", "a")])
    assert len(open_source(config, "train")) == 1
    with pytest.raises(DataError, match='no split `dev` in the manifest.*"split"'):
        open_source(config, "dev")


def test_a_dev_split_leaves_something_to_train_on(tmp_path):
    config = write(tmp_path, [row("26.jpg", "a")])  # whose hash is among the tenth
    assert open_source(config, "train").image_ids == ["26.jpg"]
    for names in (["26.jpg", "34.jpg"], ["26.jpg", "34.jpg", "36.jpg"]):
        assert len(hashed_share(names, 0.1)) == len(names) - 1


def test_a_split_whose_images_are_missing_says_so(tmp_path):
    config = write(tmp_path, [row("1.jpg", "a"), row("2.jpg", "b", split="dev")])
    (tmp_path / "2.jpg").unlink()
    with pytest.raises(DataError, match="no split `dev`.*there are: train. None of its images can be used:\n.*line 2"):
        open_source(config, "dev")


def test_a_changed_manifest_or_image_is_read_again(tmp_path):
    rows = [row("1.jpg", "a"), row("2.jpg", "b", split="dev")]
    config = write(tmp_path, rows)
    assert captions_of(open_source(config, "train")) == {"1.jpg": ["a"]}
    config = write(tmp_path, [row("1.jpg", "changed"), rows[1]])
    assert captions_of(open_source(config, "train")) == {"1.jpg": ["changed"]}
    (tmp_path / "1.jpg").write_bytes(photo(55))
    assert images_of(open_source(config, "train")) == {"1.jpg": photo(55)}


def test_the_folder_can_move(tmp_path):
    config = write(tmp_path / "here", [row("p/1.jpg", "a"), row("2.jpg", "b", split="dev")])
    before = open_source(config, "train")
    shutil.move(tmp_path / "here", tmp_path / "there")
    moved = dataclasses.replace(
        config, manifest=str(tmp_path / "there" / "own.jsonl"), data_dir=str(tmp_path / "there" / "data")
    )
    after = open_source(moved, "train")
    assert (after.image_ids, after.fingerprint) == (before.image_ids, before.fingerprint)


def test_an_unusable_manifest_says_what_is_wrong(tmp_path):
    config = data_config(tmp_path, manifest=str(tmp_path / "nowhere.jsonl"))
    with pytest.raises(DataError, match="nowhere.jsonl` .`data.manifest`. cannot be read"):
        open_source(config, "train")
    config = write(tmp_path, [b"{", b"[]"])
    with pytest.raises(DataError, match="(?s)no usable line.*own.jsonl:1") as error:
        open_source(config, "train")
    assert "own.jsonl:2" in str(error.value)


ROWS = [
    row("1.jpg", "a dog, running", 'a "dog"'),
    row("2.jpg", "two\ncats", split="dev"),
    row("3.jpg", "ein Hund", split="test"),
]


def as_csv(rows, delimiter):
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(["Image", "caption 1", "caption 2", "split"])
    writer.writerows([[each["image"], *[*each["captions"], ""][:2], each.get("split", "")] for each in rows])
    return text.getvalue()


@pytest.mark.parametrize(
    "name, content",
    [
        ("own.json", json.dumps(ROWS, indent=2)),
        ("own.jsonl", json.dumps(ROWS)),
        ("own.csv", as_csv(ROWS, ",")),
        ("OWN.CSV", "\ufeff" + as_csv(ROWS, ";")),
    ],
    ids=["JSON array", "JSON array called JSON lines", "CSV", "CSV with semicolons"],
)
def test_an_array_and_a_table_are_read_as_lines_are(tmp_path, name, content):
    config = dataclasses.replace(write(tmp_path, ROWS), manifest=str(tmp_path / name))
    (tmp_path / name).write_text(content, encoding="utf-8")
    for split, captions in (("train", ROWS[0]), ("dev", ROWS[1]), ("test", ROWS[2])):
        assert captions_of(open_source(config, split)) == {captions["image"]: captions["captions"]}


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("own.csv", "file,caption\n1.jpg,a dog\n", "must name its columns, among them image"),
        ("own.csv", 'image,caption\n1.jpg,"a dog\n' + "x" * 200_000, "cannot be read in line"),
        ("own.json", '[{"image": "1.jpg"', "no whole JSON array"),
    ],
)
def test_a_broken_array_or_table_is_said_to_be_one(tmp_path, name, content, words):
    config = dataclasses.replace(write(tmp_path, ROWS), manifest=str(tmp_path / name))
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=words):
        open_source(config, "train")


def test_names_in_another_unicode_form_are_the_same_files(tmp_path):
    composed, apart = (unicodedata.normalize(form, "Café/Bär.jpg") for form in ("NFC", "NFD"))
    config = write(
        tmp_path,
        [row(composed, "a bear"), row(apart, "a bear", split="dev"), row("2.jpg", "x", split="dev")],
        [apart, "2.jpg"],
    )
    train = open_source(config, "train")
    assert captions_of(train) == {composed: ["a bear"]} and images_of(train)[composed] == photo(0)
    assert "is in split train already (line 1)" in open_source(config, "dev").quarantine.rows[0][1]


def test_a_folder_and_a_link_to_it_are_one(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "link").symlink_to("photos")
    rows = [
        row("photos/1.jpg", "a"),
        row("link/1.jpg", "b"),
        row("link/1.jpg", "c", split="dev"),
        row("2.jpg", "x", split="dev"),
    ]
    config = write(tmp_path, rows, ["photos/1.jpg", "2.jpg"])
    assert captions_of(open_source(config, "train")) == {"photos/1.jpg": ["a", "b"]}
    assert "must not be evaluated on" in open_source(config, "dev").quarantine.rows[0][1]


def test_windows_slashes_and_pipes_are_said(tmp_path):
    config = write(
        tmp_path, [row("1.jpg", "a"), row("photos\\2.jpg", "b"), row("pipe.jpg", "c")], ["1.jpg", "photos/2.jpg"]
    )
    os.mkfifo(tmp_path / "pipe.jpg")
    reasons = dict(open_source(dataclasses.replace(config, max_bad_share=1), "train").quarantine.rows)
    assert reasons["photos\\2.jpg"].endswith("; write / in place of \\")
    assert "not a regular file" in reasons["pipe.jpg"]
