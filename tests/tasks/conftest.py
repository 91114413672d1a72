"""What the tests of the tasks share."""

import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def write_manifest(tmp_path):
    """Function of the lines' dicts that writes a JSONL manifest with an image each, brighter on its left.

    Returns the override that reads it.
    """

    def write(rows):
        lines = []
        for number, row in enumerate(rows):
            array = np.full((24, 32, 3), (20 + number % 100, 40, 90), np.uint8)
            array[:, :16] += 100
            Image.fromarray(array).save(tmp_path / f"{number}.png")
            lines.append(json.dumps({"image": f"{number}.png", **row}))
        (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
        return f"data.manifest={tmp_path / 'rows.jsonl'}"

    return write


@pytest.fixture
def break_image():
    """Function that makes one image of a `Source` unreadable."""

    def broken(source, index):
        read = source.read

        def with_damage(modality, numbers):
            contents = read(modality, numbers)
            contents[np.asarray(numbers) == index] = b"no image"
            return contents

        source.read = with_damage

    return broken
