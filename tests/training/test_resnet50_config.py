"""The ResNet50 experiment from a weights file, on images that are there."""

import numpy as np
import pytest
import tf_keras as keras
from PIL import Image
from small_run import ROOT

from vl_keras.config import load_config
from vl_keras.data.builders.shapes_scene import draw_scene, sample_scene
from vl_keras.inference.evaluate import evaluate
from vl_keras.inference.predict import predict
from vl_keras.training.train import train


@pytest.mark.slow
def test_the_resnet50_config_trains_metrics_and_explains_from_a_weights_file(tmp_path, data_dir):
    """The whole config but for its photos, with a file that has the format of the one that Keras offers."""
    keras.utils.set_random_seed(0)
    weights = tmp_path / "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
    network = keras.applications.ResNet50(include_top=False, weights=None)
    network.save_weights(weights)
    config = load_config(
        ROOT / "configs" / "captioning" / "flickr8k_resnet50.yaml",
        [
            "data.dataset=shapes",
            "data.shapes.scenes=60",
            "data.image_size=[64, 64]",
            "data.batch_size=8",
            f"data.data_dir={data_dir}",
            f"image_encoder.weights={weights}",
            "image_encoder.cache_views=2",
            "training.epochs=1",
            "training.precision=float32",
        ],
    )
    train(config, tmp_path / "run")
    weights.unlink()  # a run needs no file of other folders
    assert np.isfinite(evaluate(tmp_path / "run")["measures"]["CIDEr-D"]["score"])
    image = tmp_path / "scene.png"
    draw_scene(sample_scene("resnet", 200, 150)).save(image)
    (said,) = predict(tmp_path / "run", [image], explain=tmp_path / "look.png")
    assert said.status == "ok" and said.output["captions"]
    assert np.asarray(Image.open(tmp_path / "look.png")).std() > 10
