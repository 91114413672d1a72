"""Laws of the image operations: formats, orientation, crop, resize, augmentation."""

import io

import numpy as np
import pytest
import tensorflow as tf
from memory_source import encode_image
from PIL import Image

from vl_keras.data import image_ops
from vl_keras.data.image_header import stored_size

HEIGHT, WIDTH = 32, 48


@pytest.fixture(scope="module")
def scene():
    """Smooth colours with corners that all differ, so that compression is mild and every turn shows."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([y * 5 + 40, x * 4 + 20, 200 - y * 2 - x], axis=-1).astype(np.uint8)


def files_of(scene):
    image = Image.fromarray(scene)
    clear = image.convert("RGBA")
    deep = Image.fromarray(scene[..., 0].astype(np.uint16) * 257)

    def save(image, kind, **options):
        file = io.BytesIO()
        image.save(file, kind, **options)
        return file.getvalue()

    return {
        "jpeg": save(image, "JPEG", quality=95),
        "jpeg progressive": save(image, "JPEG", quality=95, progressive=True),
        "jpeg grey": save(image.convert("L"), "JPEG"),
        "jpeg cmyk": save(image.convert("CMYK"), "JPEG"),
        "png": save(image, "PNG"),
        "png palette": save(image.convert("P"), "PNG"),
        "png alpha": save(clear, "PNG"),
        "png grey alpha": save(image.convert("LA"), "PNG"),
        "png 16 bit": save(deep, "PNG"),
        "bmp": save(image, "BMP"),
        "bmp 32 bit": save(clear, "BMP"),
        "gif": save(image, "GIF", save_all=True, append_images=[image.rotate(180)]),
        "webp": save(image, "WEBP", lossless=True),
        "webp lossy": save(image, "WEBP"),
        "webp alpha": save(clear, "WEBP", lossless=True),
    }


def test_every_format_decodes_as_pillow_does(scene):
    for name, data in files_of(scene).items():
        decoded = image_ops.decode_image(tf.constant(data)).numpy()
        expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        if name == "png 16 bit":
            expected = np.repeat(scene[..., :1], 3, axis=-1)  # Pillow clips sixteen bits instead of scaling them
        assert decoded.dtype == np.uint8 and decoded.shape == (HEIGHT, WIDTH, 3), name
        assert np.abs(decoded.astype(int) - expected).mean() < (3 if "jpeg" in name or "lossy" in name else 0.01), name


def test_the_header_tells_the_size_of_every_format(scene):
    for name, data in files_of(scene).items():
        assert stored_size(data) == (HEIGHT, WIDTH), name
        assert stored_size(data[:8]) is None, name
    assert stored_size(b"") is None
    assert stored_size(b"\xff\xd8\xff" + b"\xff" * 40) is None
    assert stored_size(b"no image at all") is None


def test_bad_bytes_raise(scene):
    whole = encode_image(scene, "JPEG")
    for data in (b"", b"junk" * 9, whole[: len(whole) // 2], encode_image(scene)[:-30]):
        with pytest.raises(tf.errors.InvalidArgumentError):
            image_ops.decode_image(tf.constant(data))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_random_crop_is_a_part_of_the_image(scene, kind):
    data = encode_image(scene, kind, **({"quality": 95} if kind == "JPEG" else {}))
    shares, seen = [], set()
    for number in range(30):
        crop = image_ops.decode_and_crop(tf.constant(data), tf.constant([number, 7]), 0.25).numpy()
        again = image_ops.decode_and_crop(tf.constant(data), tf.constant([number, 7]), 0.25).numpy()
        np.testing.assert_array_equal(crop, again)
        # The first two channels of the scene count rows and columns, which tells where the crop was taken.
        top, left = round((crop[0, 0, 0] - 40.0) / 5), round((crop[0, 0, 1] - 20.0) / 4)
        part = scene[max(top, 0) :, max(left, 0) :][: crop.shape[0], : crop.shape[1]]
        part = part[: crop.shape[0], : crop.shape[1]].astype(int)
        assert np.abs(crop[: part.shape[0], : part.shape[1]] - part).mean() < (0.01 if kind == "PNG" else 8)
        shares.append(crop.shape[0] * crop.shape[1] / (HEIGHT * WIDTH))
        assert 0.7 <= crop.shape[1] / crop.shape[0] <= 1.45
        seen.add((top, left, crop.shape))
    assert 0.2 < min(shares) < 0.5 and 0.7 < max(shares) <= 1 and len(seen) > 20
    whole = image_ops.decode_and_crop(tf.constant(data), tf.constant([1, 2]), 1.0).numpy()
    np.testing.assert_array_equal(whole, image_ops.decode_image(tf.constant(data)).numpy())


def test_resize_averages_like_pillow_and_leaves_equal_sizes_alone():
    noise = np.random.default_rng(3).integers(0, 256, (67, 90, 3), dtype=np.uint8)
    for size in ((16, 24), (20, 100), (130, 200)):
        resized = image_ops.resize(tf.constant(noise), size)
        expected = np.asarray(Image.fromarray(noise).resize(size[::-1], Image.Resampling.BILINEAR))
        assert resized.dtype == tf.float32 and resized.shape == (*size, 3)
        assert np.abs(resized.numpy() - expected).max() <= 1
        np.testing.assert_array_equal(resized, np.round(resized))
    np.testing.assert_array_equal(image_ops.resize(noise, (67, 90)), noise)
    pair = np.stack([noise, noise[::-1]])
    np.testing.assert_array_equal(image_ops.resize(pair, (16, 24))[1], image_ops.resize(noise[::-1], (16, 24)))


def test_flip_mirrors_and_zero_settings_change_nothing(scene):
    seed = tf.constant([3, 4])
    np.testing.assert_array_equal(image_ops.augment(scene, seed, tf.constant(False)), scene)
    np.testing.assert_array_equal(image_ops.augment(scene, seed, tf.constant(True)), scene[:, ::-1])


def test_augmentation_follows_from_its_seed_within_its_limits(scene):
    def changed(seed):
        return image_ops.augment(scene, tf.constant(seed), tf.constant(False), rotation=15.0, color=0.3).numpy()

    np.testing.assert_array_equal(changed([1, 2]), changed([1, 2]))
    assert not np.array_equal(changed([1, 2]), changed([1, 3]))
    assert changed([1, 2]).dtype == np.uint8 and changed([1, 2]).shape == scene.shape


def test_rotation_turns_counter_clockwise():
    square = np.random.default_rng(5).uniform(0, 255, (21, 21, 3)).astype(np.float32)
    np.testing.assert_allclose(image_ops.rotate(tf.constant(square), np.pi / 2), np.rot90(square), atol=0.01)
    np.testing.assert_allclose(image_ops.rotate(tf.constant(square), 0.0), square, atol=1e-3)


def test_color_change_is_saturation_then_contrast_then_brightness(scene):
    brightness, contrast, saturation = 1.2, 0.7, 0.4
    image = scene.astype(np.float64)
    luma = np.array([0.299, 0.587, 0.114])
    expected = saturation * image + (1 - saturation) * (image @ luma)[..., None]
    mean = (expected @ luma).mean()
    expected = brightness * (contrast * expected + (1 - contrast) * mean)
    got = image_ops.change_color(tf.constant(scene, tf.float32), *map(tf.constant, (brightness, contrast, saturation)))
    np.testing.assert_allclose(got, expected, atol=0.01)


def test_eager_tf_data_and_saved_model_agree(scene, tmp_path):
    files = list(files_of(scene).values())

    def prepare(data):
        return image_ops.resize(image_ops.decode_image(data), (24, 40))

    class Server(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
        def serve(self, data):
            return tf.map_fn(prepare, data, fn_output_signature=tf.float32)

    tf.saved_model.save(Server(), str(tmp_path / "model"))
    served = tf.saved_model.load(str(tmp_path / "model")).serve(tf.constant(files)).numpy()
    for data, piped, one in zip(files, tf.data.Dataset.from_tensor_slices(files).map(prepare), served, strict=True):
        eager = prepare(tf.constant(data)).numpy()
        np.testing.assert_array_equal(eager, piped.numpy())
        np.testing.assert_array_equal(eager, one)
