"""A run whose image encoder is a network of one's own does not depend on the files that it came from."""

import shutil
from pathlib import Path

import pytest
import tf_keras as keras

from vl_keras.inference.evaluate import evaluate
from vl_keras.runs.load_run import load_run
from vl_keras.training.train import train


@pytest.mark.slow
@pytest.mark.parametrize("trained", [True, False])
def test_a_run_outlives_the_model_that_is_its_backbone(small_config, tmp_path, trained):
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(6, 8, 8, name="cells")(x)
    (tmp_path / "files").mkdir()
    keras.Model(inputs, keras.layers.GlobalAveragePooling2D(name="mean")(x)).save(tmp_path / "files" / "own.keras")
    backbone = f"image_encoder.backbone=keras:{tmp_path / 'files' / 'own.keras'}#mean"  # one token, without a place
    config_of = (backbone, f"image_encoder.trainable_from={'all' if trained else ''}", "training.epochs=1")
    config = small_config(*config_of)
    train(config, tmp_path / "run")
    weights = (tmp_path / "run/measures.json").read_text()
    (tmp_path / "files").rename(tmp_path / "elsewhere")
    moved = f"image_encoder.backbone=keras:{tmp_path / 'elsewhere' / 'own.keras'}#mean"
    train(small_config(moved, *config_of[1:]), tmp_path / "run", resume=True)
    shutil.rmtree(tmp_path / "elsewhere")
    train(config, tmp_path / "run", resume=True)
    assert (tmp_path / "run/measures.json").read_text() == weights
    _, _, captioner, _ = load_run(tmp_path / "run")
    assert captioner.image_encoder.output_shape["image_tokens"] == (None, 1, 6)
    result = evaluate(tmp_path / "run", "dev")
    assert result["measures"] and Path(result["files"]["contact_sheet"]).exists()
