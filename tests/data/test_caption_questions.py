"""Questions made from captions, and the manifest that holds them."""

import collections
import json

import pytest

from vl_keras.cli.main import main
from vl_keras.data.caption_questions import caption_questions

CAPTIONS = [
    ["Two brown dogs run through the grass", "two dogs play in grass", "Dogs on a meadow"],
    ["a man in a red shirt rides a horse", "A man with a red shirt on a horse", "the rider wears a blue hat"],
    ["a boat on a lake", "one boat at the shore of the lake"],
    ["three men throw a ball", "Three men with a white ball", "men play"],
    ["a woman holds a black and white cat", "a woman with a cat near a dog bowl"],
    [],
]


@pytest.fixture(scope="module")
def questions():
    return caption_questions(CAPTIONS)


def _of(questions, image, kind):
    return {row.question: row.answer for row in questions[image] if row.kind == kind}


def test_numbers_are_asked_where_the_captions_agree(questions):
    assert _of(questions, 0, "number") == {"how many dogs are there?": "2"}
    assert _of(questions, 3, "number")["how many men are there?"] == "3"


def test_colours_are_asked_where_one_is_told(questions):
    assert _of(questions, 1, "color") == {"what color is the shirt?": "red", "what color is the hat?": "blue"}
    assert _of(questions, 3, "color") == {"what color is the ball?": "white"}
    assert not _of(questions, 4, "color"), "black and white is not one colour"


def test_what_is_there_is_asked_as_often_with_yes_as_with_no(questions):
    answers = collections.defaultdict(collections.Counter)
    for own in questions:
        for row in own:
            if row.kind == "yes/no":
                answers[row.question][row.answer] += 1
    assert answers["is there a dog?"] == {"yes": 1, "no": 1} and len(answers) > 5
    assert all(counts["yes"] == counts["no"] for counts in answers.values())


def test_no_is_not_said_of_what_a_caption_mentions_or_may_mean(questions):
    for own, captions in zip(questions, CAPTIONS, strict=True):
        text = " ".join(captions).lower()
        for row in own:
            thing = row.question.removesuffix("?").split()[-1]
            assert row.answer != "no" or thing not in text, (row, captions)
    people = {"is there a man?", "is there a woman?", "is there a rider?"}
    assert not {row.question for row in questions[4] if row.answer == "no"} & people, "the woman may be called a rider"


def test_a_bowl_for_dogs_is_no_dog_and_an_image_without_captions_gets_no_question(questions):
    assert _of(questions, 4, "yes/no").get("is there a dog?") != "yes"
    assert questions[5] == []


def test_the_seed_decides_alone(questions):
    assert caption_questions(CAPTIONS) == questions
    assert caption_questions(CAPTIONS * 3, seed=1) != caption_questions(CAPTIONS * 3, seed=2)


def test_the_command_writes_a_manifest_that_questions_are_read_from(tmp_path, data_dir, capsys):
    from vl_keras.config import load_config
    from vl_keras.data.source import open_source

    out, folder = tmp_path / "questions.jsonl", f"data.data_dir={data_dir}"
    scenes = ("data.shapes.scenes=60", "data.shapes.image_size=[24, 32]")
    assert main(["data", "questions", "vqa/tiny", "--out", str(out), "--set", folder, *scenes]) == 0
    assert "yes/no" in capsys.readouterr().out
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert rows and all((tmp_path / row["image"]).is_file() for row in rows)
    source = open_source(load_config("vqa/tiny", (folder, f"data.manifest={out}")).data, "train")
    assert sum(map(len, source.questions)) == sum(row["split"] == "train" for row in rows)
    again = tmp_path / "again" / "questions.jsonl"
    again.parent.mkdir()
    names = list(dict.fromkeys(row["image"] for row in rows if row["split"] == "train"))
    captioned = [
        {"image": name, "captions": [f"a red {thing}"]} for name, thing in zip(names, ("ball", "dog"), strict=False)
    ]
    out.write_text("".join(json.dumps(row) + "\n" for row in captioned), "utf-8")
    assert main(["data", "questions", "vqa/tiny", "--out", str(again), "--set", folder, f"data.manifest={out}"]) == 0
    for row in map(json.loads, again.read_text("utf-8").splitlines()):
        assert (again.parent / row["image"]).resolve().parent == tmp_path / "questions_images", (
            "no image is copied again"
        )
