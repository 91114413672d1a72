import json

import pytest

from tests.models.part_weights import FROZEN, VARIANTS, described

_FROZEN = json.loads(FROZEN.read_text())
_CASES = [(task, name) for task, own in VARIANTS.items() for name in own]


def test_every_variant_is_frozen():
    assert sorted(_FROZEN) == sorted(f"{task} {name}" for task, name in _CASES)


@pytest.mark.parametrize("task, name", _CASES)
def test_the_weights_of_each_part_keep_their_order_names_and_shapes(task, name):
    got = described(task, VARIANTS[task][name])
    for part, weights in _FROZEN[f"{task} {name}"].items():
        assert got[part] == weights, part
