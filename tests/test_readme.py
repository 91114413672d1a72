"""The README's commands for one's own photos, word for word, on a hundred photos."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vl_keras.data.builders.shapes_language import describe_scene
from vl_keras.data.builders.shapes_scene import draw_scene, sample_scene

ROOT = Path(__file__).resolve().parent.parent
# How Keras names the file that `weights=imagenet` downloads.
WEIGHTS = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"


@pytest.fixture
def photos(tmp_path):
    """Folder with photos.jsonl, the photos that it lists, and the new images that the commands name."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "holiday").mkdir()
    lines = []
    for number in range(100):
        scene = sample_scene(number, 120, 160)
        draw_scene(scene).save(tmp_path / "photos" / f"{number}.jpg")
        row = {"image": f"photos/{number}.jpg", "captions": describe_scene(scene, number)}
        lines.append(json.dumps(row) + "\n")
    (tmp_path / "photos.jsonl").write_text("".join(lines))
    for name in ("holiday/1.jpg", "holiday/2.jpg", "beach.jpg"):
        draw_scene(sample_scene(name, 120, 160)).save(tmp_path / name)
    return tmp_path


@pytest.mark.slow  # trains the shipped experiment, 24 epochs of a real network: two minutes
def test_the_commands_for_own_photos_work_as_they_stand(photos):
    import tf_keras as keras

    keras_home = photos / "keras"
    (keras_home / "models").mkdir(parents=True)
    network = keras.applications.MobileNetV2(input_shape=(224, 224, 3), include_top=False, weights=None)
    network.save_weights(keras_home / "models" / WEIGHTS)
    section = (ROOT / "README.md").read_text("utf-8").split("## Train on your own photos")[1]
    commands = re.findall(r"^ +(vl-keras .*)$", section.split("A second training phase")[0], re.MULTILINE)
    assert [command.split()[1] for command in commands] == ["data", "train", "evaluate", "predict", "predict"]
    home = {"HOME": str(photos), "KERAS_HOME": str(keras_home), "XDG_CACHE_HOME": str(photos / "cache")}
    environment = {**os.environ, **home, "PYTHONPATH": str(ROOT)}
    for command in commands:
        words = [sys.executable, "-m", "vl_keras", *command.split()[1:]]
        done = subprocess.run(words, cwd=photos, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    captions = [json.loads(line) for line in (photos / "captions.jsonl").read_text("utf-8").splitlines()]
    assert [Path(row["image"]).name for row in captions] == ["1.jpg", "2.jpg"]
    assert all(row["status"] == "ok" and row["caption"] for row in captions)
    assert (photos / "beach.png").stat().st_size > 1000
