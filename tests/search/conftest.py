"""Images of one colour each, and runs that see colours."""

import os

import numpy as np
import pytest
from color_run import COLORS, load_color_run, make_color_run
from PIL import Image


@pytest.fixture
def color_run(tmp_path, monkeypatch):
    """Folder of a run that turns images and names of colours into vectors."""
    monkeypatch.setattr("vl_keras.search.image_embedder.load_run", load_color_run)
    return make_color_run(tmp_path / "run")


@pytest.fixture
def paint():
    """Function of a path, a colour and a seed: writes a speckled image; `keep_time` hides that it changed."""

    def paint(path, color, seed=0, keep_time=False):
        path.parent.mkdir(parents=True, exist_ok=True)
        times = os.stat(path) if keep_time else None
        speckles = np.random.default_rng(seed).uniform(0.0, 0.25, size=(24, 32, 3))
        pixels = 255 * (0.75 * np.array(COLORS[color]) + speckles)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
        if times:
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        return path

    return paint


@pytest.fixture
def photos(tmp_path, paint):
    """A folder with three images of each colour."""
    for color in COLORS:
        for number in range(3):
            paint(tmp_path / "photos" / color / f"{number}.bmp", color, 10 * number + len(color))
    return tmp_path / "photos"
