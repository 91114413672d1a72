"""A second modality is served without a word of it in `export`: bytes in, a row's answer or its status out."""

import numpy as np
import pytest
import tensorflow as tf
from series_modality import CHANNELS, MOST_STEPS, SeriesModality, encode_series, series_of

from export.errors import ExportError
from export.parity import check_parity
from export.signatures import serving_functions
from vl_keras.config import DataConfig
from vl_keras.data.modalities import MODALITIES
from vl_keras.data.modalities.golden_images import golden_images
from vl_keras.layers.fusion.multi_stream_fusion import MultiStreamFusion
from vl_keras.tasks.serving_signature import ServingSignature

DATA = DataConfig(image_size=(8, 12))
GOOD = [encode_series(series_of(seed, steps)) for seed, steps in enumerate((4, 1, 7, MOST_STEPS, 2))]
IMAGES = list(golden_images().values())[: len(GOOD)]
BAD = {
    b"": "empty: there are no series bytes",
    b"junk": "unsupported: the bytes are no series",
    GOOD[2][:-1]: "damaged: the series is cut short",
    encode_series(series_of(0, 3), steps=99): "too long: the series has 99 steps, 12 fit",
}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(MODALITIES, "series", SeriesModality())


@pytest.fixture
def served(tmp_path):
    """Folder of a SavedModel, its signatures, and what it was made from."""
    module = tf.Module()
    module.fusion = MultiStreamFusion(hidden_dim=4)

    def fuse(inputs):
        image = tf.reshape(inputs["image"] / 255, (-1, 8, 12 * 3))
        image_mask = tf.ones(tf.shape(image)[:2], tf.bool)
        vector = module.fusion(image, image_mask, inputs["series"], inputs["series_mask"])
        return {"vector": vector, "said": tf.strings.join(["about ", inputs["question"]])}

    def mean(inputs):
        mask = tf.cast(inputs["series_mask"], tf.float32)[..., None]
        total = tf.reduce_sum(inputs["series"] * mask, axis=1)
        return {"mean": total / tf.maximum(tf.reduce_sum(mask, axis=1), 1.0)}

    signatures = {
        "fuse": ServingSignature(fuse, ("image", "series", "question")),
        "mean": ServingSignature(mean, ("series",)),
    }
    fuse({"image": tf.zeros((1, 8, 12, 3)), "series": tf.zeros((1, 1, CHANNELS)), "question": tf.constant([""]),
          "series_mask": tf.ones((1, 1), tf.bool)})  # fmt: skip
    functions = serving_functions(signatures, DATA)
    tf.saved_model.save(module, str(tmp_path / "1"), {name: f.get_concrete_function() for name, f in functions.items()})
    return tmp_path / "1", tf.saved_model.load(str(tmp_path / "1")).signatures, signatures


def _ask(signature, **columns):
    return {key: value.numpy() for key, value in signature(**{k: tf.constant(v) for k, v in columns.items()}).items()}


def test_its_bytes_are_an_input_and_a_bad_row_fails_alone(served):
    _, signatures, _ = served
    rows = [content for pair in zip(GOOD, BAD, strict=False) for content in pair] + GOOD[len(BAD) :]
    answer, good = _ask(signatures["mean"], series_bytes=rows), _ask(signatures["mean"], series_bytes=GOOD)
    assert set(answer) == {"mean", "status"}
    for row, content in enumerate(rows):
        if content in BAD:
            assert answer["status"][row].decode() == BAD[content] and not answer["mean"][row].any()
        else:
            assert answer["status"][row] == b"ok"
            np.testing.assert_allclose(answer["mean"][row], good["mean"][GOOD.index(content)], atol=1e-6)
    np.testing.assert_allclose(good["mean"][0], series_of(0, 4).mean(axis=0), atol=1e-6)
    assert _ask(signatures["mean"], series_bytes=np.array([], object))["mean"].shape == (0, CHANNELS)


def test_a_row_is_good_only_if_all_its_inputs_are_and_the_status_names_the_bad_ones(served):
    _, signatures, _ = served
    series, images = [GOOD[0], b"junk", GOOD[2], b"", GOOD[4]], [*IMAGES[:2], b"junk", b"", IMAGES[4]]
    answer = _ask(signatures["fuse"], image_bytes=images, series_bytes=series, question=["what?"] * 5)
    assert [status.decode() for status in answer["status"]] == [
        "ok",
        "unsupported: the bytes are no series",
        "unsupported: the bytes are no JPEG, PNG, GIF, BMP or WebP image; use one of these",
        "empty: there are no image bytes; empty: there are no series bytes",
        "ok",
    ]
    assert answer["said"].tolist() == [b"about what?", b"", b"", b"", b"about what?"]
    assert answer["vector"].any(axis=1).tolist() == [True, False, False, False, True]


def test_the_gate_before_publishing_compares_it_with_training(served):
    folder, _, signatures = served
    parity = check_parity(folder, signatures, DATA)
    assert parity.rows == 2 * len(golden_images()) and parity.largest <= 1e-5
    wrong = {"mean": ServingSignature(lambda inputs: {"mean": inputs["series"][:, 0]}, ("series",))}
    with pytest.raises(ExportError, match="`mean`, output `mean`"):
        check_parity(folder, wrong, DATA)
