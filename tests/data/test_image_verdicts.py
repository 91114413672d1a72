"""One verdict and the same pixels on every road: training, serving, the look at data; pixels are Pillow's."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_cases import encode, in_png, readable, refused
from PIL import Image, ImageOps

from export.request import draw_attention
from vl_keras.config import DataConfig
from vl_keras.data import decoding_worker
from vl_keras.data.decoding_worker import DecodingWorker
from vl_keras.data.image_batches import load_image
from vl_keras.data.image_files import find_images
from vl_keras.data.image_header import find_fault, image_header
from vl_keras.data.image_header_ops import header_numbers, header_status
from vl_keras.data.image_ops import decode_image, resize_uint8
from vl_keras.data.modalities import MODALITIES
from vl_keras.data.serve_contents import serve_contents
from vl_keras.inference.loaded_run import _content

SUITE = os.environ.get("VL_KERAS_IMAGE_SUITE", "")
DATA = DataConfig(image_size=(19, 26), max_pixels=4_000_000)
LEVELS = 8  # of 255
READABLE, REFUSED = readable(), refused()


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
def served(contents):
    return serve_contents(contents, MODALITIES["image"], DATA)[::2]


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def graph_header(content):
    numbers = header_numbers(content)
    return numbers, header_status(numbers, DATA.max_pixels)


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def graph_pixels(content):
    return decode_image(content)


def pillow(content):
    """`(h, w, 3)` of Pillow, upright and on white."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    clear = image.convert("RGBA")
    ground = Image.new("RGBA", image.size, "white")
    ground.alpha_composite(clear)
    return np.asarray(ground.convert("RGB")).astype(int)


def verdicts(contents):
    """Of each content the reasons of training, serving and inspection; `ok` where it is read; checks the pixels."""
    images, status = served(tf.constant(contents, tf.string))
    status = [said.decode() for said in status.numpy()]
    found = []
    with DecodingWorker() as worker:
        sound = [content for content in contents if find_fault(image_header(content), DATA.max_pixels) is None]
        opened = iter(worker.open_images(sound, 64))
        for content, image, said in zip(contents, images.numpy(), status, strict=True):
            trained, reason = load_image(content, DATA)
            if trained is not None:
                np.testing.assert_array_equal(trained, image)
            looked = find_fault(image_header(content), DATA.max_pixels) or next(opened)
            found.append((reason or "ok", said, looked if isinstance(looked, str) else "ok"))
    return found


def test_every_road_reads_what_is_readable():
    found = verdicts(list(READABLE.values()))
    assert {name: one for name, one in zip(READABLE, found, strict=True) if one != ("ok",) * 3} == {}


@pytest.mark.parametrize("name", READABLE)
def test_pixels_are_those_of_pillow(name):
    expected = pillow(READABLE[name])
    for decoded in (decode_image(READABLE[name]), graph_pixels(READABLE[name])):
        assert decoded.shape == expected.shape
        assert np.abs(decoded.numpy() - expected).max() <= LEVELS


def test_every_road_refuses_in_the_same_words():
    found = verdicts([content for content, _ in REFUSED.values()])
    for (name, (_, words)), reasons in zip(REFUSED.items(), found, strict=True):
        assert len(set(reasons)) == 1 and words in reasons[0], (name, reasons)


@pytest.mark.skipif(not SUITE, reason="VL_KERAS_IMAGE_SUITE names no folder of image files")
def test_every_road_treats_the_files_of_a_folder_alike():
    paths = sorted(path for path in Path(SUITE).rglob("*") if path.is_file())
    contents = [path.read_bytes() for path in paths]
    wrong = {}
    for path, content, reasons in zip(paths, contents, verdicts(contents), strict=True):
        if len(set(reasons)) > 1:
            wrong[path.name] = reasons
        elif reasons[0] == "ok":
            try:
                expected = pillow(content)
            except Exception:  # noqa: S112  Pillow reads less than we do
                continue
            with Image.open(io.BytesIO(content)) as image:
                is_exact = image.mode not in ("CMYK", "I;16", "I", "I;16B")  # other conversions of colour and depth
            decoded = decode_image(content).numpy()
            if decoded.shape != expected.shape or (is_exact and np.abs(decoded - expected).max() > LEVELS):
                wrong[path.name] = decoded.shape, expected.shape, "other pixels"
    assert paths and not wrong, wrong


FORMS = [*READABLE.values(), *(content for content, _ in REFUSED.values() if len(content) < 20_000)]


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(FORMS), st.integers(0, 700), st.binary(max_size=6), st.integers(0, 3000), st.booleans())
def test_the_header_is_read_in_graph_and_in_python_alike(data, place, patch, length, insert):
    damaged = (data[:place] + patch + data[place + (0 if insert else len(patch)) :])[: max(length, place)]
    numbers, status = graph_header(damaged)
    header = image_header(damaged)
    assert [int(number) for number in header.numbers] == numbers.numpy().tolist()
    assert (find_fault(header, DATA.max_pixels) or "ok") == status.numpy().decode()


def test_what_decoders_say_stays_with_them(capfd):
    for content, _ in REFUSED.values():
        load_image(content, DATA)
    said = capfd.readouterr().err
    assert "JPEG" not in said and "marker" not in said, said


def test_images_of_every_ending_are_found(tmp_path):
    names = ("a.JPG", "b.apng", "c.dib", "d.heic", "e.avif", "f.tif", "g.jp2", "h.jxl", "i.webp")
    for name in (*names, "j.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in find_images([tmp_path])] == list(names)


@pytest.mark.parametrize("name", ["webp exif", "png exif at end", "jpeg exif late"])
def test_attention_is_drawn_over_what_the_model_saw(name, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("vl_keras.drawing.attention_drawing.draw_explanation", lambda *args: seen.append(args[1]))
    (tmp_path / "image").write_bytes(READABLE[name])
    row = {"tokens": ["a"], "caption": "a", "attention": [[[1.0]]]}
    with DecodingWorker() as worker:
        draw_attention(row, tmp_path / "image", tmp_path / "x.png", worker)
    np.testing.assert_array_equal(seen[0], graph_pixels(READABLE[name]))


def test_text_in_a_png_is_never_inflated():
    """libpng gets none of the chunks that pixels do not need: here they are no deflated text at all."""
    image = decode_image(in_png(*[b"\0\0\0\x09zTXtnonsense!\0\0\0\0"] * 3, after=b"\0\0\0\x02iCCPxx\0\0\0\0"))
    np.testing.assert_array_equal(image, decode_image(encode("PNG")))


def test_a_crash_of_a_decoder_costs_one_image(monkeypatch):
    """The process is killed whenever one of the images is among those it gets, as a crash would."""
    good, bad, send = encode("PNG"), READABLE["gif"], decoding_worker._send
    with DecodingWorker() as worker:

        def crashing(pipe, value):
            if bad in value[0]:
                worker._process.kill()
            send(pipe, value)

        monkeypatch.setattr(decoding_worker, "_send", crashing)
        first, crashed, last = worker.open_images([good, bad, good], 64)
    assert "GIF" in crashed and "crashes" in crashed
    for _, image in (first, last):
        np.testing.assert_array_equal(image, decode_image(good))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "CMYK"])
def test_an_image_of_pillow_is_read_as_its_file_is(mode):
    from export.client.images import image_bytes

    kind = "TIFF" if mode == "CMYK" else "PNG"
    image = Image.open(io.BytesIO(encode(kind, mode)))
    image.getexif()[0x0112] = 6
    expected = pillow(encode(kind, mode))
    for content in (_content(image), image_bytes(image)[0]):
        decoded = decode_image(content).numpy().astype(int)
        assert np.abs(decoded - np.rot90(expected, -1)).max() <= LEVELS
    assert resize_uint8(decode_image(content), DATA.image_size).shape == (19, 26, 3)
