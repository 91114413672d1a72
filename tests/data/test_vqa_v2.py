"""VQA v2's official files, as miniatures that the test writes: questions, ten annotators' answers, COCO's names."""

import json
import os

import pytest
from miniature import data_config, images_of, photo, write_folder, write_zip

from vl_keras.data.builders.annotators import annotators, join_annotators
from vl_keras.data.source import open_source
from vl_keras.errors import DataError

# COCO's image numbers, of which each has two questions, and the archives that the files come in.
IMAGES = {"train2014": [9, 25, 30], "val2014": [42, 73], "test2015": [1, 16], "test-dev2015": [1]}
ARCHIVES = {"train2014": "Train", "val2014": "Val", "test2015": "Test", "test-dev2015": "Test"}
KINDS = ("yes/no", "number", "other")
TYPES = ("is the", "how many", "what color is the", "none of the above")


def question_rows(part):
    return [
        {"image_id": n, "question": f" What {k} is in {n}? ", "question_id": 1000 * n + k}
        for k in range(2)  # the questions of one image do not follow each other
        for n in IMAGES[part]
    ]


def answers(key):
    return [f"answer {key}" if order < 6 else f"other {order}" for order in range(10)]


def kinds(key):
    return KINDS[key % 3], TYPES[key % 4]


def annotation(row):
    key = row["question_id"]
    kind, question_type = kinds(key)
    return {
        "question_type": question_type,
        "multiple_choice_answer": f"answer {key}",
        "answers": [
            {"answer": text, "answer_confidence": "yes", "answer_id": order}
            for order, text in enumerate(answers(key), 1)
        ],
        "image_id": row["image_id"],
        "answer_type": kind,
        "question_id": key,
    }


def text_files(part, more_questions=(), more_annotations=()):
    header = {"info": {"version": "2.0"}, "license": {}, "data_type": "mscoco", "data_subtype": part}
    rows = question_rows(part)
    asked = {**header, "task_type": "Open-Ended", "questions": rows + list(more_questions)}
    files = {f"v2_OpenEnded_mscoco_{part}_questions.json": json.dumps(asked).encode()}
    if not part.startswith("test"):
        answered = {**header, "annotations": [annotation(row) for row in rows] + list(more_annotations)}
        files[f"v2_mscoco_{part}_annotations.json"] = json.dumps(answered).encode()
    return files


def image_files(part):
    return {f"{part}/COCO_{part}_{n:012d}.jpg": photo(n) for n in IMAGES[part]}


def vqa_v2(folder):
    return data_config(folder, dataset="vqa_v2", manual_dir=str(folder))


def expected(part, answered=True):
    return {
        str(n): [
            {
                "question": f"What {k} is in {n}?",
                "answer": "\n".join(answers(1000 * n + k)) if answered else "",
                "kind": "\n".join(kinds(1000 * n + k)) if answered else "",
            }
            for k in range(2)
        ]
        for n in IMAGES[part]
    }


def questions_of(source):
    return dict(zip(source.image_ids, source.questions, strict=True))


@pytest.mark.parametrize("layout", ["zips", "folders", "annotations folder"])
def test_reads_the_official_files_packed_or_not(tmp_path, layout):
    texts = {part: text_files(part) for part in IMAGES}
    if layout == "zips":
        for name in ("Train", "Val", "Test"):
            files = {n: t for part in IMAGES if ARCHIVES[part] == name for n, t in texts[part].items()}
            for kind in ("Questions", "Annotations"):
                chosen = {n: t for n, t in files.items() if kind.lower() in n}
                if chosen:
                    write_zip(tmp_path / f"v2_{kind}_{name}_mscoco.zip", chosen)
    else:
        inside = "annotations/" if layout == "annotations folder" else ""
        write_folder(tmp_path, {inside + n: t for files in texts.values() for n, t in files.items()})
    for part in ("train2014", "val2014", "test2015"):
        write_zip(tmp_path / f"{part}.zip", image_files(part)) if layout == "zips" else write_folder(
            tmp_path, image_files(part)
        )
    config = vqa_v2(tmp_path)
    for split, part in (("train", "train2014"), ("dev", "val2014"), ("test", "test2015")):
        source = open_source(config, split)
        assert questions_of(source) == expected(part, answered=split != "test")
        assert images_of(source) == {str(n): photo(n) for n in IMAGES[part]}
        assert not source.quarantine.rows and not source.notes
    row = open_source(config, "train").questions[0][0]
    assert len(annotators(row["answer"])) == 10


def test_several_answers_come_back_from_their_lines():
    given = ["two dogs", "", "a\nb\tc ", "2"]
    assert annotators(join_annotators(given)) == ["two dogs", "", "a b c", "2"]
    assert annotators("yes") == ["yes"] and annotators("") == []


def test_the_test_dev_questions_stand_in_for_the_test_questions(tmp_path):
    write_folder(tmp_path, text_files("test-dev2015") | image_files("test2015"))
    config = vqa_v2(tmp_path)
    assert questions_of(open_source(config, "test")) == expected("test-dev2015", answered=False)
    with pytest.raises(DataError, match="there are: test.*train2014"):
        open_source(config, "train")


def test_a_split_without_annotations_or_images_is_left_out_with_a_note(tmp_path):
    write_folder(tmp_path, text_files("train2014") | text_files("val2014") | image_files("val2014"))
    write_folder(tmp_path, text_files("test2015"))
    source = open_source(vqa_v2(tmp_path), "dev")
    assert len(source) == 2
    assert ["`train`" in source.notes[0], "`test`" in source.notes[1]] == [True, True]
    (tmp_path / "v2_mscoco_val2014_annotations.json").unlink()
    with pytest.raises(DataError, match="No split of VQA v2.*v2_mscoco_val2014_annotations.json.*annotations"):
        open_source(vqa_v2(tmp_path), "dev")


def test_what_cannot_be_used_costs_itself_and_is_listed(tmp_path):
    asked = [
        {"image_id": 42, "question_id": 5},
        {"image_id": "42", "question": "?", "question_id": 6},
        {"image_id": 42, "question": "unanswered?", "question_id": 7},
        {"image_id": 500, "question": "of what?", "question_id": 8},
        "no object",
    ]
    good = annotation({"image_id": 42, "question_id": 7})
    answered = [
        {**good, "question_id": 777},
        {**good, "answers": [{"answer_confidence": "yes"}]},
        {key: value for key, value in good.items() if key != "answer_type"},
        {**good, "question_type": 3},
        [],
    ]
    write_folder(tmp_path, text_files("val2014", asked, answered) | image_files("val2014"))
    source = open_source(vqa_v2(tmp_path), "dev")
    assert questions_of(source) == expected("val2014")
    reasons = dict(source.quarantine.rows)
    names = [f"v2_OpenEnded_mscoco_val2014_questions.json question {n}" for n in (5, 6, 9)]
    names += [f"v2_mscoco_val2014_annotations.json annotation {n}" for n in (5, 6, 7, 8, 9)]
    assert set(reasons) == {*names, "question 7", "COCO_val2014_000000000500.jpg"}
    assert reasons[names[3]] == "of an unknown question"
    assert "no answer to it" in reasons["question 7"]


def test_other_files_in_the_folder_are_no_change(tmp_path):
    write_folder(tmp_path, text_files("val2014") | image_files("val2014"))
    config = vqa_v2(tmp_path)
    open_source(config, "dev")
    (tmp_path / "notes.txt").write_text("mine")
    open_source(config, "dev")
    prepared = tmp_path / "data" / "prepared"
    assert len(list(prepared.iterdir())) == 1
    path = tmp_path / "v2_mscoco_val2014_annotations.json"
    os.utime(path, ns=(1, 1))
    open_source(config, "dev")
    assert len(list(prepared.iterdir())) == 2


def test_what_is_missing_or_broken_is_named(tmp_path):
    config = vqa_v2(tmp_path)
    with pytest.raises(DataError, match="`data.manual_dir`.*v2_Questions_Train_mscoco.zip"):
        open_source(config, "train")
    write_folder(tmp_path, text_files("train2014"))
    with pytest.raises(DataError, match="`data.manual_dir`.*train2014, val2014, test2015"):
        open_source(config, "train")
    write_folder(tmp_path, image_files("train2014"))
    for name in ("v2_mscoco_train2014_annotations.json", "v2_OpenEnded_mscoco_train2014_questions.json"):
        (tmp_path / name).write_bytes(b"[]")
        with pytest.raises(DataError, match=f"{name}.*VQA v2's format"):
            open_source(config, "train")
