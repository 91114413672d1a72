"""Image bytes in the graph: every form is read as training reads it, a bad one costs its row."""

import base64
import io

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from vl_keras.config import DataConfig
from vl_keras.data import image_header
from vl_keras.data.image_header_ops import check_header
from vl_keras.data.image_ops import decode_image, resize
from vl_keras.data.modalities import MODALITIES
from vl_keras.data.modalities.golden_images import golden_images
from vl_keras.data.serve_contents import serve_contents

SIZE, MOST = (24, 40), 1_000_000
DATA = DataConfig(image_size=SIZE, max_pixels=MOST)


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
def decode(contents):
    images, mask, status = serve_contents(contents, MODALITIES["image"], DATA)
    tf.debugging.assert_equal(mask, status == "ok")
    return images, status


GOLDEN = golden_images()


def _encode(form, height=30, width=50, mode="RGB", **options):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, form, **options)
    return file.getvalue()


def test_a_good_row_is_what_training_sees_whatever_its_neighbours():
    bad = [b"", b"no image", GOLDEN["landscape.jpg"][:900], b"\xff\xd8\xff", b"BM", b"RIFF0000WEBPVP8 "]
    rows, expected = [], []
    for i, data in enumerate(GOLDEN.values()):
        rows += [bad[i % len(bad)], data]
        expected += [None, resize(decode_image(data), SIZE).numpy()]
    images, status = decode(tf.constant(rows))
    for image, said, want in zip(images.numpy(), status.numpy(), expected, strict=True):
        if want is None:
            assert said != b"ok" and not image.any()
        else:
            assert said == b"ok"
            np.testing.assert_array_equal(image, want)


@pytest.mark.parametrize("rows", [[], [b"bad"], [b"", b"bad"]], ids=["none", "one", "two"])
def test_batches_without_a_good_row(rows):
    images, status = decode(tf.constant(rows, tf.string))
    assert images.shape == (len(rows), *SIZE, 3) and not tf.reduce_any(images != 0)
    assert b"ok" not in status.numpy().tolist()


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "no image bytes"),
        (b"<html>", "no JPEG, PNG, GIF, BMP or WebP"),
        (_encode("TIFF"), "TIFF images are not decoded"),
        (_encode("WEBP", save_all=True, append_images=[Image.new("RGB", (50, 30))]), "animated"),
        (_encode("JPEG")[:-300], "cut short"),
        (_encode("JPEG")[:60], "cut short"),
        (_encode("PNG")[:200], "cut short"),
        (_encode("BMP")[:200], "cut short"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff\xff\xff\xff\xff\xff\xff\xff", "4294967295x4294967295"),
        (_encode("PNG", 1100, 1000), "1000x1100 pixels, more than 1000000"),
        (_encode("JPEG", 1100, 1000), "1000x1100 pixels, more than 1000000"),
        (_encode("WEBP", 1100, 1000), "1000x1100 pixels, more than 1000000"),
        (_encode("BMP", 1100, 1000), "1000x1100 pixels, more than 1000000"),
    ],
    ids=str,
)
def test_the_status_says_why(data, reason):
    assert reason in decode(tf.constant([data]))[1].numpy()[0].decode()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "WEBP", "GIF"])
def test_base64_text_is_named(form):
    """The most common fault of a first request over REST."""
    text = base64.b64encode(_encode(form, 48, 32))
    for sent in (text, b"data:image/x;base64," + text):
        assert (
            b'send the bytes themselves or, in the JSON of a request, {"b64"'
            in check_header(tf.constant(sent), MOST).numpy()
        )


def test_what_is_too_large_is_not_decoded():
    """A 60 kB PNG that would be 192 MB: refused by its header, where the decoder would have to fill the memory."""
    bomb = _encode("PNG", 1, 1).replace(b"\0\0\0\1\0\0\0\1", b"\0\0\x1f\x40\0\0\x1f\x40", 1)
    assert b"8000x8000" in check_header(tf.constant(bomb), MOST).numpy()


FORMS = [
    *GOLDEN.values(),
    *(_encode("WEBP", lossless=lossless) for lossless in (True, False)),
    _encode("WEBP", mode="RGBA"),
    _encode("BMP", mode="L"),
    _encode("JPEG", comment=b"x" * 5000),
    _encode("JPEG", icc_profile=b"y" * 70_000),
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(FORMS), st.integers(0, 400), st.binary(min_size=0, max_size=6), st.integers(0, 3000))
def test_damaged_bytes_never_raise(data, place, patch, length):
    damaged = (data[:place] + patch + data[place + len(patch) :])[: max(length, place)]
    images, status = decode(tf.constant([damaged, GOLDEN["small.bmp"]]))
    assert status.numpy()[1] == b"ok" and images.numpy()[1].any()
    known = image_header.stored_size(damaged)
    if status.numpy()[0] == b"ok":
        assert known is not None and known[0] * known[1] <= MOST
