import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from vl_keras.encoders.application_encoder import backbone_names
from vl_keras.encoders.encoder_fingerprint import encoder_fingerprint
from vl_keras.encoders.image_encoder import build_image_encoder
from vl_keras.encoders.token_layout import TokenLayout, token_layout
from vl_keras.errors import EncoderError

ROOT = Path(__file__).resolve().parents[2]


def random_images(batch, height, width, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (batch, height, width, 3)).astype(np.float32)


def outputs(model, images, **kwargs):
    return {name: value.numpy() for name, value in model(images, **kwargs).items()}


@pytest.fixture(scope="module")
def small():
    return build_image_encoder("SmallCNN", "none")


def save_network(application, path):
    """Writes a weights file as Keras's own `notop` files are, with real batch statistics; returns the network."""
    keras.utils.set_random_seed(5)
    network = application(include_top=False, weights=None)
    generator = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(generator.normal(size=layer.moving_mean.shape))
            layer.moving_variance.assign(generator.uniform(0.5, 2, layer.moving_variance.shape))
    network.save_weights(path)
    return network


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory):
    """A small application with batch norm, and the weights file it was written to."""
    path = str(tmp_path_factory.mktemp("weights") / "mobilenet_1_0_224_tf_no_top.h5")
    return save_network(keras.applications.MobileNet, path), path


def test_tokens_are_the_grid_row_by_row_and_the_vector_is_their_mean(small):
    images = random_images(2, 41, 67)
    layout = token_layout(small, (41, 67))
    result = outputs(small, images)
    assert layout == TokenLayout("grid", 6, 9)
    rows, columns = layout.rows, layout.columns
    assert result["image_mask"].shape == (2, rows * columns) and result["image_mask"].all()
    assert result["image_tokens"].shape == (2, rows * columns, 128)
    np.testing.assert_allclose(result["image_vector"], result["image_tokens"].mean(1), atol=1e-5)
    grid = keras.Model(small.input, small.get_layer("image_grid").output)(images).numpy()
    np.testing.assert_array_equal(result["image_tokens"][1, 2 * columns + 5], grid[1, 2, 5])


def test_batch_neighbours_change_nothing(small):
    images = random_images(3, 40, 56)
    together = outputs(small, images)["image_tokens"]
    changed = outputs(small, np.concatenate([images[:1], 255 - images[1:]]))["image_tokens"]
    np.testing.assert_array_equal(together[0], changed[0])


def test_resnet50_file_gives_the_tokens_of_the_network_it_came_from(tmp_path):
    path = str(tmp_path / "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5")
    network = save_network(keras.applications.ResNet50, path)
    images = random_images(2, 64, 96)
    model = build_image_encoder("ResNet50", path)
    expected = network(keras.applications.resnet50.preprocess_input(images.copy()), training=False).numpy()
    result = outputs(model, images)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(result["image_tokens"], expected.reshape(2, 6, 2048), atol=1e-5 * scale)
    assert token_layout(model, (64, 96)) == TokenLayout("grid", 2, 3)
    assert not model.trainable_weights


@pytest.mark.slow
def test_real_mobilenet_weights_give_the_tokens_of_the_application(shared_dir):
    path = str(shared_dir / "weights" / "mobilenet_v2_imagenet_notop.h5")
    network = keras.applications.MobileNetV2(input_shape=(224, 224, 3), include_top=False, weights=path)
    images = random_images(2, 224, 224)
    expected = network(images / 127.5 - 1).numpy().reshape(2, 49, 1280)
    result = outputs(build_image_encoder("MobileNetV2", path), images)["image_tokens"]
    np.testing.assert_allclose(result, expected, atol=1e-4)


@pytest.mark.parametrize(
    "backbone, module", [("VGG16", "vgg16"), ("ResNet50V2", "resnet_v2"), ("DenseNet121", "densenet")]
)
def test_preprocessing_is_the_applications_own(backbone, module):
    from vl_keras.encoders.networks.image_preprocessing import ImagePreprocessing

    images = random_images(1, 5, 7)
    layer = ImagePreprocessing(backbone)
    expected = getattr(keras.applications, module).preprocess_input(images.copy())
    np.testing.assert_allclose(layer(images).numpy(), expected, atol=1e-4)
    again = ImagePreprocessing.from_config(layer.get_config())
    np.testing.assert_array_equal(again(images).numpy(), layer(images).numpy())


def test_fit_leaves_a_frozen_encoder_and_its_statistics_alone(mobilenet):
    assert fit_on_top(build_image_encoder("MobileNet", mobilenet[1])) == []


def test_fine_tuning_starts_at_the_named_layer_and_keeps_batch_statistics(mobilenet):
    changed = fit_on_top(build_image_encoder("MobileNet", mobilenet[1], trainable_from="conv_pw_13"))
    assert sorted(changed) == ["conv_pw_13/kernel:0", "conv_pw_13_bn/beta:0", "conv_pw_13_bn/gamma:0"]


@pytest.mark.slow
def test_fine_tuning_of_all_keeps_batch_statistics(mobilenet):
    changed = fit_on_top(build_image_encoder("MobileNet", mobilenet[1], trainable_from="all"))
    assert "conv1_bn/beta:0" in changed and not any("moving" in name for name in changed)


def fit_on_top(encoder):
    """Trains a head on the encoder for two steps; names of the encoder's weights that changed."""
    before = encoder.get_weights()
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.Dense(3)(encoder(image)["image_vector"]))
    model.compile(keras.optimizers.SGD(0.5), "mse")
    model.fit(random_images(4, 48, 64), np.ones((4, 3)), batch_size=2, verbose=0)
    return [
        weight.name
        for weight, old, new in zip(encoder.weights, before, encoder.get_weights(), strict=True)
        if not np.array_equal(old, new)
    ]


def test_a_frozen_pretrained_encoder_runs_in_inference_mode_in_training(mobilenet):
    model = build_image_encoder("MobileNet", mobilenet[1])
    images = random_images(2, 64, 40)
    np.testing.assert_array_equal(
        outputs(model, images, training=True)["image_tokens"], outputs(model, images)["image_tokens"]
    )


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(EncoderError, match="image_encoder.backbone.*ResNet5.*did you mean ResNet50"):
        build_image_encoder("ResNet5", "none")
    with pytest.raises(EncoderError, match="image_encoder.trainable_from.*block_convl.*nearest:.* block_conv1"):
        build_image_encoder("SmallCNN", "none", trainable_from="block_convl")
    assert {"SmallCNN", "ResNet50", "EfficientNetV2B0"} <= set(backbone_names())


def test_weights_that_cannot_be_downloaded_name_the_file_and_the_key(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))  # no cached file
    monkeypatch.setattr(
        sys.modules["tf_keras.src.applications.resnet"], "BASE_WEIGHTS_PATH", "http://127.0.0.1:9/resnet/"
    )
    with pytest.raises(EncoderError) as caught:
        build_image_encoder("ResNet50", "imagenet")
    message = str(caught.value)
    assert "http://127.0.0.1:9/resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5" in message
    assert "`image_encoder.weights`" in message


def test_imagenet_weights_are_those_that_keras_downloads(monkeypatch, mobilenet):
    network, path = mobilenet
    data_utils = sys.modules["tf_keras.src.applications.mobilenet"].data_utils
    monkeypatch.setattr(data_utils, "get_file", lambda *args, **kwargs: path)
    model = build_image_encoder("MobileNet", "imagenet")
    for got, expected in zip(model.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_wrong_file_is_named_with_what_was_expected(tmp_path, mobilenet):
    text = tmp_path / "notes.h5"
    text.write_text("no weights")
    for path, reason in (
        (tmp_path / "absent.h5", "There is no weights file"),
        (text, "is no HDF5 weights file"),
        (mobilenet[1], "does not fit VGG16"),
    ):
        with pytest.raises(EncoderError, match=f"(?s){reason}.*VGG16 without its top") as caught:
            build_image_encoder("VGG16", str(path))
        assert str(path) in str(caught.value)
    with pytest.raises(EncoderError, match="no ImageNet weights for SmallCNN"):
        build_image_encoder("SmallCNN", "imagenet")


def test_an_application_of_one_image_size_says_so():
    with pytest.raises(EncoderError, match="NASNetMobile.*one image size"):
        build_image_encoder("NASNetMobile", "none")


def test_small_weights_file_round_trip(small, tmp_path):
    path = tmp_path / "small.h5"
    small.get_layer("small_cnn").save_weights(path)
    again = build_image_encoder("SmallCNN", str(path))
    np.testing.assert_array_equal(
        outputs(again, random_images(1, 32, 48))["image_tokens"],
        outputs(small, random_images(1, 32, 48))["image_tokens"],
    )


def test_model_round_trips_through_its_config(small):
    again = keras.Model.from_config(small.get_config())
    again.set_weights(small.get_weights())
    images = random_images(2, 32, 48)
    np.testing.assert_array_equal(outputs(again, images)["image_tokens"], outputs(small, images)["image_tokens"])


def test_fingerprint_follows_weights_and_architecture_alone(small):
    same = build_image_encoder("SmallCNN", "none", trainable_from="all")
    assert encoder_fingerprint(same) != encoder_fingerprint(small)
    same.set_weights(small.get_weights())
    assert encoder_fingerprint(same) == encoder_fingerprint(small)
    kernel = same.get_layer("small_cnn").get_layer("projection").kernel
    kernel.assign_add(tf.one_hot([0], 1)[0][0] * tf.ones_like(kernel) * 1e-3)
    assert encoder_fingerprint(same) != encoder_fingerprint(small)
    assert encoder_fingerprint(build_image_encoder("SmallCNN", "none", image_size=(32, 48))) != encoder_fingerprint(
        small
    )


def test_fingerprint_is_what_it_was_when_the_first_feature_caches_and_indexes_were_made():
    encoder = build_image_encoder("SmallCNN", "none", image_size=(48, 64))
    rng = np.random.default_rng(0)
    for weight in encoder.weights:
        weight.assign(("gamma" in weight.name) + rng.normal(scale=0.2, size=weight.shape).astype("float32"))
    assert encoder_fingerprint(encoder) == "6f7c1be88e1109790c24a7f4c1d4f088b7880d2cd188c7e1745cd6404a88eb79"


@pytest.mark.slow
def test_fingerprint_is_the_same_in_another_process(shared_dir):
    path = str(shared_dir / "weights" / "mobilenet_v2_imagenet_notop.h5")
    code = (
        "from vl_keras.encoders.image_encoder import build_image_encoder as build\n"
        "from vl_keras.encoders.encoder_fingerprint import encoder_fingerprint\n"
        f"build('SmallCNN', 'none'); print(encoder_fingerprint(build('MobileNetV2', {json.dumps(path)})))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.split()[-1] == encoder_fingerprint(build_image_encoder("MobileNetV2", path))


def test_bfloat16_policy_computes_near_float32(small):
    images = random_images(2, 32, 48)
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        mixed = build_image_encoder("SmallCNN", "none")
    finally:
        keras.mixed_precision.set_global_policy("float32")
    mixed.set_weights(small.get_weights())
    result, expected = mixed(images)["image_tokens"], small(images)["image_tokens"]
    assert result.dtype == tf.bfloat16
    assert np.abs(tf.cast(result, tf.float32) - expected).max() < 0.1


def test_runs_compiled_and_in_float_or_byte_pixels(small):
    images = np.round(random_images(2, 24, 40)).astype(np.uint8)
    compiled = tf.function(small, jit_compile=True)(tf.cast(images, tf.float32))["image_tokens"]
    eager = outputs(small, images)["image_tokens"]
    np.testing.assert_allclose(compiled, eager, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "backbone", ["EfficientNetB0", "MobileNetV3Small", "RegNetX002", "InceptionV3", "ConvNeXtTiny"]
)
def test_other_applications_take_any_size(backbone):
    model = build_image_encoder(backbone, "none")
    images = random_images(1, 101, 131)
    layout = token_layout(model, (101, 131))
    assert outputs(model, images)["image_tokens"].shape[1] == layout.rows * layout.columns
