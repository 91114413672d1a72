"""Everything that is said about a scene of shapes is true of it, and the boxes bound what is drawn."""

import re

import numpy as np
import pytest
from miniature import data_config

from vl_keras.config import ShapesConfig
from vl_keras.data.builders.shapes import ShapesBuilder
from vl_keras.data.builders.shapes_language import NUMBERS, ask_scene, describe_scene, talk_about_scene
from vl_keras.data.builders.shapes_scene import COLORS, SHAPES, draw_scene, encode_scene, sample_scene

HEIGHT, WIDTH = 64, 96
SEEDS = range(300)
THING = (
    rf"(?:(?P<size>small|large) )?(?:(?P<color>{'|'.join(COLORS)}) )?(?P<shape>(?:{'|'.join(SHAPES)})(?:e?s)?|shapes?)"
)


@pytest.fixture(scope="module")
def scenes():
    return [sample_scene(seed, HEIGHT, WIDTH) for seed in SEEDS]


def matching(scene, text):
    """Objects that a name such as "large red circles" fits; article or number left out."""
    match = re.fullmatch(THING, text)
    assert match, text
    shape = next((shape for shape in SHAPES if match["shape"].startswith(shape)), None)
    return [
        item
        for item in scene.objects
        if (match["size"] or item.size) == item.size
        and (match["color"] or item.color) == item.color
        and (shape or item.shape) == item.shape
    ]


def where(scene, item):
    """The place of an object by thirds, from its box."""
    y0, x0, y1, x1 = scene.boxes()[scene.objects.index(item)]
    x, y = item.x * min(HEIGHT, WIDTH) / WIDTH, item.y * min(HEIGHT, WIDTH) / HEIGHT
    assert x0 < x < x1 and y0 < y < y1
    row = "top" if y < 1 / 3 else "bottom" if y >= 2 / 3 else ""
    column = "left" if x < 1 / 3 else "right" if x >= 2 / 3 else ""
    return " ".join(filter(None, (row, column))) or "center"


RELATIONS = {
    "to the left of": lambda a, b: a.x < b.x,
    "to the right of": lambda a, b: a.x > b.x,
    "above": lambda a, b: a.y < b.y,
    "below": lambda a, b: a.y > b.y,
}


def is_true(scene, caption):
    """Whether a caption holds, by rules that know nothing of how it was written."""
    caption = re.sub("^(a picture (of|with)|the picture shows|there (is|are)) | on a pale background$", "", caption)
    caption = re.sub("^a single ", "one ", caption)
    for words, holds in RELATIONS.items():
        if f" {words} " in caption:
            first, second = (matching(scene, part.split(" ", 1)[1]) for part in caption.split(f" {words} "))
            return any(holds(a, b) for a in first for b in second if a is not b)
    place = re.fullmatch(
        "an? (.*) (?:at|in) the ((?:top|bottom)? ?(?:left|right)?|center)(?: of the picture)?", caption
    )
    if place:
        return any(where(scene, item) == place[2] for item in matching(scene, place[1]))
    colors = re.fullmatch("(one|two|three|four) (shapes?) in (.*)", caption)
    if colors:
        said = re.split(" , | and ", colors[3])
        return NUMBERS.index(colors[1]) == len(scene.objects) and set(said) == {item.color for item in scene.objects}
    parts = re.split(" , | and ", caption)
    if len(parts) > 1 and re.fullmatch("(one|two|three|four) shapes?", parts[0]):
        count, *parts = parts
        if NUMBERS.index(count.split()[0]) != len(scene.objects):
            return False
    total = 0
    for part in parts:
        number, name = part.split(" ", 1)
        wanted = {"a": 1, "an": 1}.get(number) or NUMBERS.index(number)
        if len(matching(scene, name)) != wanted:
            return False
        total += wanted
    return total == len(scene.objects)  # a list leaves nothing out


def test_captions_are_five_different_true_ones(scenes):
    forms = set()
    for seed, scene in zip(SEEDS, scenes, strict=True):
        captions = describe_scene(scene, seed)
        assert len(set(captions)) == 5
        for caption in captions:
            assert is_true(scene, caption), (caption, scene)
        forms |= {words for words in (*RELATIONS, "at the", "two", "in the center") if f" {words} " in f" {captions} "}
    assert {*RELATIONS, "at the"} <= forms


def test_the_truth_test_can_fail(scenes):
    wrong = total = 0
    for seed, scene in zip(SEEDS, scenes, strict=True):
        others = describe_scene(scenes[(seed + 1) % len(scenes)], seed + 1)
        wrong += sum(not is_true(scene, caption) for caption in others)
        total += 5
    assert wrong > 0.85 * total


def test_answers_are_true(scenes):
    kinds, answers = set(), {"yes": 0, "no": 0}
    for seed, scene in zip(SEEDS, scenes, strict=True):
        for row in ask_scene(scene, seed):
            question, answer, kind = row["question"].rstrip("?"), row["answer"], row["kind"]
            kinds.add(kind)
            if kind == "yes_no":
                answers[answer] += 1
            if kind == "count":
                name = re.fullmatch("how many (.*) are there", question)[1]
                assert int(answer) == len(matching(scene, name))
            elif kind == "color":
                (item,) = matching(scene, question.removeprefix("what color is the "))
                assert item.color == answer
            elif kind == "shape":
                color = re.fullmatch("what shape is the (.*) object", question)[1]
                assert [answer] == [item.shape for item in scene.objects if item.color == color]
            elif kind == "where":
                (item,) = matching(scene, question.removeprefix("where is the "))
                assert where(scene, item) == answer
            elif question.startswith("is there a"):
                assert bool(matching(scene, question.split(" ", 3)[3])) == (answer == "yes")
            elif question.startswith("are there"):
                assert (NUMBERS[len(scene.objects)] in question) == (answer == "yes")
            else:
                words, holds = next((w, h) for w, h in RELATIONS.items() if f" {w} " in question)
                first, second = question.removeprefix("is the ").split(f" {words} the ")
                (a,), (b,) = matching(scene, first), matching(scene, second)
                assert holds(a, b) == (answer == "yes")
    assert kinds == {"yes_no", "count", "color", "shape", "where"}
    assert 0.35 < answers["yes"] / sum(answers.values()) < 0.65


def test_a_dialogue_stays_with_one_object(scenes):
    for seed, scene in zip(SEEDS, scenes, strict=True):
        turns = talk_about_scene(scene, seed)
        assert 3 <= len(turns) <= 5
        assert turns[0] == {"question": "how many shapes are there?", "answer": NUMBERS[len(scene.objects)]}
        meant = list(scene.objects)
        for turn in turns[1:]:
            question, answer = turn["question"], turn["answer"]
            asked = re.fullmatch(r"is there an? (\w+)\?", question)
            if asked:
                found = matching(scene, asked[1])
                assert bool(found) == (answer == "yes")
                meant = found or meant
            elif question == "what shape is the largest one?":
                meant = [max(scene.objects, key=lambda item: item.radius)]
                assert meant[0].shape == answer
            else:
                (item,) = meant
                truth = {"color": item.color, "where": where(scene, item), "large": item.size}
                assert answer == next(value for word, value in truth.items() if word in question)


def test_boxes_bound_exactly_what_is_drawn(scenes):
    for scene in scenes[:60]:
        image = np.asarray(draw_scene(scene), int)
        drawn = np.abs(image - scene.ground).sum(axis=-1) > 0
        inside = np.zeros_like(drawn)
        for (y0, x0, y1, x1), item in zip(scene.boxes(), scene.objects, strict=True):
            rows = slice(int(np.floor(y0 * HEIGHT)), int(np.ceil(y1 * HEIGHT)) + 1)
            columns = slice(int(np.floor(x0 * WIDTH)), int(np.ceil(x1 * WIDTH)) + 1)
            inside[rows, columns] = True
            part = drawn[rows, columns]
            assert part.any(axis=1)[1:-2].all() and part.any(axis=0)[1:-2].all(), item
            pure = np.abs(image[rows, columns] - COLORS[item.color]).sum(axis=-1) == 0
            assert pure.any(), item
        assert not (drawn & ~inside).any()


def test_objects_do_not_touch(scenes):
    for scene in scenes[:60]:
        masks = []
        for item in scene.objects:
            alone = type(scene)((item,), scene.ground, HEIGHT, WIDTH)
            masks.append((np.asarray(draw_scene(alone), int) != scene.ground).any(axis=-1))
        assert (np.sum(masks, axis=0) <= 1).all()


def test_edges_are_antialiased(scenes):
    image = np.asarray(draw_scene(scenes[0]), int)
    colors = {tuple(color) for color in image.reshape(-1, 3)}
    pure = {scenes[0].ground, *(COLORS[item.color] for item in scenes[0].objects)}
    assert len(colors - pure) > 20


def test_a_scene_follows_from_its_seed_alone(tmp_path):
    assert encode_scene(sample_scene(7, 48, 40)) == encode_scene(sample_scene(7, 48, 40))
    few, many = (
        ShapesBuilder(
            settings=data_config(tmp_path, shapes=ShapesConfig(scenes=scenes, image_size=(40, 48))), data_dir=tmp_path
        ).read_splits()
        for scenes in (11, 30)
    )
    assert set(few) == {"train", "dev", "test"}
    few, many = ({split: list(rows) for split, rows in splits.items()} for splits in (few, many))
    assert [len(rows) for rows in few.values()] == [11, 1, 1] and [len(rows) for rows in many.values()] == [30, 3, 3]
    for split, rows in few.items():
        assert rows == many[split][: len(rows)]
    images = [row["image"] for rows in many.values() for row in rows]
    assert len(set(images)) == len(images)
