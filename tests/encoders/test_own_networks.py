"""Image encoders from TensorFlow Hub modules and saved Keras models, on files made here."""

import shutil

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests.layers.contract import normal
from vl_keras.encoders.encoder_fingerprint import encoder_fingerprint
from vl_keras.encoders.image_encoder import backbone_kind, build_image_encoder
from vl_keras.encoders.kept_backbone import backbone_without_place, keep_backbone, kept_backbone
from vl_keras.encoders.token_layout import TokenLayout, token_layout
from vl_keras.errors import EncoderError
from vl_keras.models.captioner import build_captioner

B, HEIGHT, WIDTH, D, R = 2, 32, 48, 5, 6
GIVES = ("map", "tokens", "vector", "masked")


class Module(tf.Module):
    """A reusable SavedModel in TensorFlow Hub's form: one convolution, and what `gives` says of its cells."""

    def __init__(self, gives, seed=0):
        super().__init__()
        self.gives = gives
        self.kernel = tf.Variable(normal(16, 16, 3, D, seed=seed), name="kernel")

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)])
    def __call__(self, images):
        cells = tf.nn.conv2d(images, self.kernel, 16, "VALID")
        tokens = tf.reshape(cells, (tf.shape(cells)[0], -1, D))
        if self.gives == "map":
            return cells
        if self.gives == "vector":
            return {"default": tf.reduce_mean(tokens, axis=1), "other": tf.reduce_max(tokens, axis=1)}
        if self.gives == "masked":
            return {"image_tokens": tokens, "image_mask": tf.sequence_mask(tf.fill(tf.shape(tokens)[:1], 4), R)}
        return {"image_tokens": tokens}


def save(folder, gives, seed=0):
    module = Module(gives, seed)
    wrapped = tf.__internal__.tracking.AutoTrackable()
    wrapped.__call__ = module.__call__
    wrapped.variables = wrapped.trainable_variables = [module.kernel]
    wrapped.regularization_losses = []
    tf.saved_model.save(wrapped, str(folder))
    return module


def images(seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (B, HEIGHT, WIDTH, 3)).astype("float32")


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    """Folder of a module for each of `GIVES`, and the modules."""
    folder = tmp_path_factory.mktemp("hub")
    return folder, {gives: save(folder / gives, gives) for gives in GIVES}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A Keras model with batch norm, its folder, where it lies in three forms."""
    folder = tmp_path_factory.mktemp("keras")
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = keras.layers.Conv2D(D, 16, 16, name="cells")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pooled")(x)
    model = keras.Model(inputs, keras.layers.Dense(3, name="classes")(x))
    model.get_layer("norm").moving_mean.assign(normal(D, seed=3))
    for name in ("model.keras", "model.h5", "model"):
        model.save(folder / name)
    return model, folder


def test_the_form_of_a_backbone_says_its_kind():
    assert backbone_kind("ResNet50") == ("application", "ResNet50")
    assert backbone_kind("hub:https://tfhub.dev/x/1") == ("hub", "https://tfhub.dev/x/1")
    assert backbone_kind("keras:C:/models/own.keras#norm") == ("keras", "C:/models/own.keras#norm")


@pytest.mark.parametrize("gives, size", [(gives, size) for gives in GIVES for size in (None, (HEIGHT, WIDTH))])
def test_a_module_gives_tokens(modules, gives, size):
    folder, made = modules
    encoder = build_image_encoder(f"hub:{folder / gives}", "none", image_size=size)
    read = encoder(images())
    cells = tf.nn.conv2d(images() / 255.0, made[gives].kernel, 16, "VALID").numpy().reshape(B, R, D)
    expected = cells.mean(1, keepdims=True) if gives == "vector" else cells
    np.testing.assert_allclose(read["image_tokens"], expected, atol=1e-4)
    mask = np.ones(expected.shape[:2], bool)
    if gives == "masked":
        mask[:, 4:] = False
    np.testing.assert_array_equal(read["image_mask"], mask)
    real = expected[:, mask[0]]
    np.testing.assert_allclose(read["image_vector"], real.mean(1), atol=1e-4)
    layout = TokenLayout("grid", 2, 3) if gives == "map" else TokenLayout("none")
    assert token_layout(encoder, (HEIGHT, WIDTH)) == layout
    assert encoder.output_shape["image_tokens"][-1] == D
    assert not encoder.trainable_weights and len(encoder.weights) == 1


def test_a_fingerprint_follows_a_modules_graph_and_weights_and_not_its_place(modules, tmp_path):
    folder, _ = modules
    build = [build_image_encoder(f"hub:{folder / name}", "none") for name in ("map", "tokens")]
    prints = [encoder_fingerprint(encoder) for encoder in build]
    assert prints[0] != prints[1]
    shutil.copytree(folder / "map", tmp_path / "moved")
    moved = build_image_encoder(f"hub:{tmp_path / 'moved'}", "none", trainable_from="all")
    assert encoder_fingerprint(moved) == prints[0]
    moved.weights[0].assign_add(tf.ones_like(moved.weights[0]))
    assert encoder_fingerprint(moved) != prints[0]


def test_weights_of_a_module_survive_a_weights_file(modules, tmp_path):
    folder, _ = modules
    encoder = build_image_encoder(f"hub:{folder / 'map'}", "none", trainable_from="all")
    encoder.weights[0].assign(normal(16, 16, 3, D, seed=9))
    encoder.save_weights(str(tmp_path / "image_encoder.h5"))
    again = build_image_encoder(f"hub:{folder / 'map'}", "none", load_weights=False)
    again.load_weights(str(tmp_path / "image_encoder.h5"))
    np.testing.assert_array_equal(again(images())["image_tokens"], encoder(images())["image_tokens"])


@pytest.mark.parametrize("trained", [True, False])
def test_a_captioner_learns_on_a_module(modules, trained):
    folder, _ = modules
    encoder = build_image_encoder(f"hub:{folder / 'tokens'}", "imagenet", "all" if trained else "")
    sizes = {"hidden_dim": 8, "num_heads": 2, "num_layers": 1, "intermediate_dim": 12, "max_length": 4}
    captioner = build_captioner(encoder, 7, **sizes)
    before = encoder.get_weights()
    captioner.training_model.compile(
        keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    x = {"image": images(), "caption_ids": np.ones((B, 1, 3), np.int32)}
    captioner.training_model.fit(x, np.full((B, 1, 3), 2), epochs=2, verbose=0)
    changed = [not np.array_equal(one, other) for one, other in zip(before, encoder.get_weights(), strict=True)]
    assert changed == [trained]
    written = captioner.generate({"image": tf.constant(images())}, method="greedy", max_length=4)
    assert written.tokens.shape == (B, 1, 4)


@pytest.mark.parametrize("form", ["model.keras", "model.h5", "model"])
def test_a_saved_keras_model_gives_the_output_of_a_layer(network, form):
    model, folder = network
    for layer, kind in (("norm", "grid"), ("pooled", "none")):
        encoder = build_image_encoder(f"keras:{folder / form}#{layer}", "none", image_size=(HEIGHT, WIDTH))
        expected = keras.Model(model.input, model.get_layer(layer).output)(images(), training=False).numpy()
        read = encoder(images(), training=True)  # its batch statistics stay those that it was saved with
        np.testing.assert_allclose(read["image_tokens"], expected.reshape(B, -1, D), atol=1e-5)
        np.testing.assert_allclose(read["image_vector"], expected.reshape(B, -1, D).mean(1), atol=1e-5)
        assert token_layout(encoder, (HEIGHT, WIDTH)).kind == kind
        assert not encoder.trainable_weights


def test_a_saved_keras_model_is_trained_from_a_layer_on(network):
    _, folder = network
    source = f"keras:{folder / 'model.keras'}#norm"
    frozen = build_image_encoder(source, "none")
    whole = build_image_encoder(source, "none", "all")
    some = build_image_encoder(source, "none", "norm")
    assert [len(one.trainable_weights) for one in (frozen, whole, some)] == [0, 4, 2]
    assert encoder_fingerprint(frozen) == encoder_fingerprint(whole)


def test_faults_name_the_setting_the_value_and_the_rule(modules, network, tmp_path):
    folder, saved = modules[0], network[1]

    def refused(match, backbone, weights="none", trainable_from="", image_size=None):
        with pytest.raises(EncoderError, match=f"(?s){match}"):
            build_image_encoder(backbone, weights, trainable_from, image_size)

    absent = tmp_path / "absent"
    refused("image_encoder.backbone.*absent.*no module", f"hub:{absent}")
    refused("could not be loaded.*set .image_encoder.backbone. to its folder", "hub:http://127.0.0.1:9/images/1")
    refused("image_encoder.weights.*w.h5.*brings its own weights", f"hub:{folder / 'map'}", "w.h5")
    refused("image_encoder.trainable_from.*conv1.*takes all", f"hub:{folder / 'map'}", trainable_from="conv1")
    module = tf.Module()
    module.__call__ = tf.function(
        lambda images: {"a": images, "b": images}, input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)]
    )
    other = tf.__internal__.tracking.AutoTrackable()
    other.__call__ = module.__call__
    tf.saved_model.save(other, str(tmp_path / "other"))
    refused("does not keep the contract of image modules.*gives a, b, none of which", f"hub:{tmp_path / 'other'}")
    refused("must be keras:PATH#LAYER", f"keras:{saved / 'model.keras'}")
    refused("there is no .*absent", f"keras:{absent}#norm")
    refused("no layer .nrm.; nearest: norm", f"keras:{saved / 'model.keras'}#nrm")
    refused("could not be loaded as a Keras model.*hub:PATH", f"keras:{folder / 'map'}#norm")
    refused("image_encoder.trainable_from.*nrm.*nearest: norm", f"keras:{saved / 'model.h5'}#norm", "none", "nrm")
    small = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(D, 3, name="only")])
    small.save(tmp_path / "small.keras")
    small = f"keras:{tmp_path / 'small.keras'}#only"
    refused("takes images of 16x16.*data.image_size.*32x48", small, image_size=(32, 48))


def test_an_encoder_that_gives_boxes_or_moments_says_so():
    image = keras.Input((None, None, 3), name="image")
    tokens = keras.layers.Reshape((-1, 3))(image)
    for name, kind in (("image_boxes", "boxes"), ("image_times", "time")):
        encoder = keras.Model(image, {"image_tokens": tokens, name: tokens})
        assert token_layout(encoder, (4, 6)) == TokenLayout(kind)


def test_weights_are_arranged_as_a_grid_and_left_alone_otherwise():
    weights = np.arange(24.0).reshape(2, 2, 6)
    grid = TokenLayout("grid", 2, 3)
    np.testing.assert_array_equal(grid.arrange(weights), weights.reshape(2, 2, 2, 3))
    np.testing.assert_array_equal(grid.arrange(tf.constant(weights)), weights.reshape(2, 2, 2, 3))
    assert TokenLayout("none").arrange(weights) is weights


def test_a_copy_of_the_files_gives_the_same_encoder(modules, network, tmp_path):
    for number, backbone in enumerate(
        [f"hub:{modules[0] / 'map'}", *(f"keras:{network[1] / form}#norm" for form in ("model.keras", "model"))]
    ):
        folder = tmp_path / str(number)
        assert kept_backbone(backbone, folder) == backbone  # nothing is kept yet
        keep_backbone(backbone, folder)
        copy = kept_backbone(backbone, folder)
        assert str(folder) in copy and backbone_without_place(copy) == backbone_without_place(backbone)
        one, other = (build_image_encoder(name, "none") for name in (backbone, copy))
        assert encoder_fingerprint(one) == encoder_fingerprint(other)
    keep_backbone("SmallCNN", tmp_path / "none")
    assert kept_backbone("SmallCNN", tmp_path / "none") == "SmallCNN" and not (tmp_path / "none").exists()
