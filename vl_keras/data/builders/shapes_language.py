"""True statements about a scene of shapes: captions, questions with answers, a dialogue."""

import random
from collections import Counter
from collections.abc import Sequence

from vl_keras.data.builders.shapes_scene import COLORS, SHAPES, Scene, SceneObject

_Objects = Sequence[SceneObject]
_Row = dict[str, str]

NUMBERS = ("no", "one", "two", "three", "four")
_RELATIONS = ("to the left of", "to the right of", "above", "below")
_PLURALS = {"cross": "crosses"}


def describe_scene(scene: Scene, seed: object) -> list[str]:
    """Writes five different true captions: two lists of the objects, a relation, a place and a count."""
    rng = random.Random(f"captions {seed}")
    objects = scene.objects
    writers = (_list_by_color, _list_by_size, _relation, _place, _count)
    captions = []
    for write in writers:
        for _ in range(8):
            caption = write(objects, rng)
            if caption not in captions:
                break
        captions.append(caption)
    return captions


def ask_scene(scene: Scene, seed: object) -> list[_Row]:
    """Asks questions as dicts of `question`, `answer` and `kind` (yes_no, count, color, shape or where)."""
    rng = random.Random(f"questions {seed}")
    objects = scene.objects
    rows = [_ask_presence(objects, rng), _ask_count(objects, rng)]
    if len(objects) > 1:
        rows.append(_ask_relation(objects, rng))
    by_shape, by_color = Counter(o.shape for o in objects), Counter(o.color for o in objects)
    single = [o for o in objects if by_shape[o.shape] == 1]
    if single:
        item = rng.choice(single)
        rows.append(_row(f"what color is the {item.shape}?", item.color, "color"))
    single = [o for o in objects if by_color[o.color] == 1]
    if single:
        item = rng.choice(single)
        rows.append(_row(f"what shape is the {item.color} object?", item.shape, "shape"))
    single = _single(objects)
    if single:
        item = rng.choice(single)
        rows.append(_row(f"where is the {item.color} {item.shape}?", item.place, "where"))
    return rows


def talk_about_scene(scene: Scene, seed: object) -> list[_Row]:
    """Writes a dialogue of three to five turns, dicts of `question` and `answer`; later turns say "it"."""
    rng = random.Random(f"dialogue {seed}")
    objects = scene.objects
    turns = [_turn("how many shapes are there?", NUMBERS[len(objects)])]
    by_shape = Counter(o.shape for o in objects)
    single = [o for o in objects if by_shape[o.shape] == 1]
    if single:
        item = rng.choice(single)
        if rng.random() < 0.5:
            absent = rng.choice([shape for shape in SHAPES if shape not in by_shape])
            turns.append(_turn(f"is there {_article(absent)}?", "no"))
        turns.append(_turn(f"is there {_article(item.shape)}?", "yes"))
    else:  # every shape occurs more than once, so the dialogue is about the largest object
        item = max(objects, key=lambda o: o.radius)
        turns.append(_turn("what shape is the largest one?", item.shape))
    about = [_turn("what color is it?", item.color), _turn("where is it?", item.place)]
    about.append(_turn("is it large or small?", item.size))
    return turns + rng.sample(about, rng.randint(1, 2))


def _list_by_color(objects: _Objects, rng: random.Random) -> str:
    """All objects by colour and shape, from left to right; equal objects are counted."""
    groups = Counter(f"{o.color} {o.shape}" for o in sorted(objects, key=lambda o: o.x))
    text = _join([_counted(count, name) for name, count in groups.items()])
    verb = "is" if next(iter(groups.values())) == 1 else "are"
    return rng.choice(("{}", "there {verb} {}", "a picture of {}")).format(text, verb=verb)


def _list_by_size(objects: _Objects, rng: random.Random) -> str:
    """All objects with their sizes, largest first; equal objects are counted."""
    groups = Counter(f"{o.size} {o.color} {o.shape}" for o in sorted(objects, key=lambda o: -o.radius))
    text = _join([_counted(count, name) for name, count in groups.items()])
    return rng.choice(("{}", "a picture with {}", "{} on a pale background")).format(text)


def _relation(objects: _Objects, rng: random.Random) -> str:
    if len(objects) == 1:
        return f"a single {_name(objects[0], rng)}"
    first, second = rng.sample(objects, 2)
    return f"{_article(_name(first, rng))} {relation(first, second)} {_article(_name(second, rng))}"


def _place(objects: _Objects, rng: random.Random) -> str:
    item = rng.choice(objects)
    where = f"in the {item.place}" if item.place == "center" else f"at the {item.place}"
    form = rng.choice(("{thing} {where}", "{thing} {where} of the picture", "there is {thing} {where}"))
    return form.format(thing=_article(_name(item, rng)), where=where)


def _count(objects: _Objects, rng: random.Random) -> str:
    groups = Counter(o.shape for o in objects)
    parts = _join([_counted(count, name) for name, count in groups.items()])
    shapes = "shape" if len(objects) == 1 else "shapes"
    return rng.choice(
        (
            f"{NUMBERS[len(objects)]} {shapes} , {parts}",
            f"the picture shows {parts}",
            f"{NUMBERS[len(objects)]} {shapes} in {_join(list(dict.fromkeys(o.color for o in objects)))}",
        )
    )


def _ask_presence(objects: _Objects, rng: random.Random) -> _Row:
    seen = {(o.color, o.shape) for o in objects}
    if rng.random() < 0.5:
        color, shape = rng.choice(sorted(seen))
    else:  # near misses: one of the two words is right
        item = rng.choice(objects)
        near = [(c, item.shape) for c in COLORS] + [(item.color, s) for s in SHAPES]
        color, shape = rng.choice([pair for pair in near if pair not in seen])
    return _row(f"is there {_article(f'{color} {shape}')}?", "yes" if (color, shape) in seen else "no", "yes_no")


def _ask_count(objects: _Objects, rng: random.Random) -> _Row:
    key = rng.choice(("all", "shape", "color"))
    if key == "all":
        return _row("how many shapes are there?", str(len(objects)), "count")
    counts = Counter(getattr(o, key) for o in objects)
    word = rng.choice(sorted(counts)) if rng.random() < 0.8 else rng.choice(SHAPES if key == "shape" else tuple(COLORS))
    things = _plural(word) if key == "shape" else f"{word} shapes"
    return _row(f"how many {things} are there?", str(counts[word]), "count")


def _ask_relation(objects: _Objects, rng: random.Random) -> _Row:
    single = _single(objects)
    if len(single) < 2:
        return _row(f"are there {NUMBERS[len(objects)]} shapes?", "yes", "yes_no")
    first, second = rng.sample(single, 2)
    true = relation(first, second)
    asked = true if rng.random() < 0.5 else _RELATIONS[_RELATIONS.index(true) ^ 1]
    question = f"is the {first.color} {first.shape} {asked} the {second.color} {second.shape}?"
    return _row(question, "yes" if asked == true else "no", "yes_no")


def relation(first: SceneObject, second: SceneObject) -> str:
    """Position of `first` relative to `second`, along the axis on which their centres are further apart."""
    dx, dy = second.x - first.x, second.y - first.y
    if abs(dx) > abs(dy):
        return _RELATIONS[0] if dx > 0 else _RELATIONS[1]
    return _RELATIONS[2] if dy > 0 else _RELATIONS[3]


def _single(objects: _Objects) -> list[SceneObject]:
    """Objects that are the only ones with their colour and shape."""
    counts = Counter((o.color, o.shape) for o in objects)
    return [o for o in objects if counts[o.color, o.shape] == 1]


def _name(item: SceneObject, rng: random.Random) -> str:
    return f"{item.size} {item.color} {item.shape}" if rng.random() < 0.5 else f"{item.color} {item.shape}"


def _article(name: str) -> str:
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def _plural(name: str) -> str:
    *front, noun = name.split()
    return " ".join([*front, _PLURALS.get(noun, f"{noun}s")])


def _counted(count: int, name: str) -> str:
    return _article(name) if count == 1 else f"{NUMBERS[count]} {_plural(name)}"


def _join(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{' , '.join(parts[:-1])} and {parts[-1]}"


def _row(question: str, answer: str, kind: str) -> _Row:
    return {"question": question, "answer": answer, "kind": kind}


def _turn(question: str, answer: str) -> _Row:
    return {"question": question, "answer": answer}
