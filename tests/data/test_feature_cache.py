"""Laws of the feature cache: it gives what was encoded, a kill loses little, another encoder's tokens are refused."""

import dataclasses
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from memory_source import MemorySource, make_source

from tests.failing_files import read_only
from vl_keras.config import AugmentConfig, DataConfig
from vl_keras.data import write_features
from vl_keras.data.feature_cache import FeatureCache
from vl_keras.errors import FeatureCacheError, QuarantineError

IMAGES, BATCH, REGIONS, WIDTH = 23, 4, 6, 5
DATA = DataConfig(image_size=(16, 24), augment=AugmentConfig(crop_min_area=0.6, flip=True, color=0.2))


def encode(images):
    """(n, 16, 24, 3) -> (n, 6, 5): means of six cells, with their place and spread."""
    cells = tf.reshape(images, (-1, 2, 8, 3, 8, 3))
    mean = tf.reshape(tf.reduce_mean(cells, axis=(2, 4)), (-1, REGIONS, 3))
    spread = tf.reshape(tf.math.reduce_std(cells, axis=(2, 4, 5)), (-1, REGIONS, 1))
    return tf.concat([mean, spread, tf.ones_like(spread)], axis=-1)


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(write_features, "_SHARD_BYTES", 2 * REGIONS * WIDTH * 8)  # eight images a shard


def build(folder, source=None, encode_fn=encode, fingerprint="cells", data=DATA, views=1):
    return FeatureCache.build_or_open(folder, source or make_source(IMAGES), encode_fn, fingerprint, data, views, BATCH)


def everything(cache):
    return np.stack([cache.read(np.arange(IMAGES), view) for view in range(cache.views)])


def test_what_is_read_is_what_was_encoded(tmp_path, small_shards):
    cache = build(tmp_path, views=3)
    assert cache.token_shape == (REGIONS, WIDTH) and len(list(tmp_path.glob("view-*.npy"))) == 9
    tokens = everything(cache)
    assert tokens.dtype == np.float16
    # The plain view: the image's colour, its left half brighter by 100.
    np.testing.assert_allclose(tokens[0, 7, 0], [127, 140, 190, tokens[0, 7, 0, 3], 1], atol=0.5)
    np.testing.assert_allclose(tokens[0, :, 5, 0], 20 + np.arange(IMAGES), atol=0.5)
    indices, views = np.array([22, 3, 3, 0, 8]), np.array([0, 2, 1, 0, 2])
    np.testing.assert_array_equal(cache.read(indices, views), tokens[views, indices])
    assert len({tokens[view].tobytes() for view in range(3)}) == 3


def test_mirrored_views_are_recorded(tmp_path):
    data = dataclasses.replace(DATA, augment=AugmentConfig(flip=True))
    cache = build(tmp_path, data=data, views=2)
    assert not cache.flipped[:, 0].any() and 4 < cache.flipped[:, 1].sum() < 19
    left, right = cache.read(np.arange(IMAGES), 1)[:, [0, 2], 0].T
    np.testing.assert_array_equal(left < right, cache.flipped[:, 1])


def test_a_cache_is_read_from_a_disk_that_may_only_be_read(tmp_path, monkeypatch):
    tokens = everything(build(tmp_path))
    (tmp_path / "killed.part").touch()
    read_only(monkeypatch, tmp_path)
    np.testing.assert_array_equal(everything(build(tmp_path)), tokens)


def test_opening_again_encodes_nothing(tmp_path):
    tokens = everything(build(tmp_path))
    source = make_source(IMAGES)
    again = build(tmp_path, source, encode_fn=None)
    np.testing.assert_array_equal(everything(again), tokens)
    assert source.times_read == 0


def test_a_stopped_build_goes_on_where_it_was(tmp_path, small_shards):
    calls = []

    def stops(images):
        calls.append(len(images))
        if len(calls) == 5:  # one blank batch, two of the first shard, one and a half of the second
            raise KeyboardInterrupt
        return encode(images)

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "stopped", encode_fn=stops, views=2)
    assert [path.name for path in (tmp_path / "stopped").glob("view-*.npy")] == ["view-0-00000.npy"]
    (tmp_path / "stopped" / "view-0-00001.npy.part").write_bytes(b"half")
    source = make_source(IMAGES)
    resumed = build(tmp_path / "stopped", source, views=2)
    assert source.times_read == 2 * IMAGES - 8 + 2  # and two that fill up the last batches
    np.testing.assert_array_equal(everything(resumed), everything(build(tmp_path / "whole", views=2)))
    assert not list((tmp_path / "stopped").glob("*.part"))


def test_a_shard_cut_short_is_written_anew(tmp_path, small_shards):
    tokens = everything(build(tmp_path))
    path = tmp_path / "view-0-00001.npy"
    path.write_bytes(path.read_bytes()[:-10])
    source = make_source(IMAGES)
    np.testing.assert_array_equal(everything(build(tmp_path, source)), tokens)
    assert source.times_read == 8


def test_a_killed_build_goes_on(tmp_path, small_shards):
    script = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); import test_feature_cache as t\n"
        "t.write_features._SHARD_BYTES = 2 * t.REGIONS * t.WIDTH * 8\n"
        "def slow(images):\n    time.sleep(0.2)\n    return t.encode(images)\n"
        "t.build(sys.argv[2], encode_fn=slow, views=4)"
    )
    folder = tmp_path / "killed"
    command = [sys.executable, "-c", script, str(Path(__file__).parent), str(folder)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while len(list(folder.glob("view-*.npy"))) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    finished = len(list(folder.glob("view-*.npy")))
    assert 2 <= finished < 12
    source = make_source(IMAGES)
    resumed = build(folder, source, views=4)
    assert source.times_read <= 4 * (IMAGES + 1) - 8 * finished + 2
    np.testing.assert_array_equal(everything(resumed), everything(build(tmp_path / "whole", views=4)))


def test_tokens_of_something_else_are_refused(tmp_path):
    build(tmp_path)
    with pytest.raises(
        FeatureCacheError, match="(?s)encoder: the cache has 'cells', this run 'other'.*Delete that folder"
    ):
        build(tmp_path, fingerprint="other")
    with pytest.raises(FeatureCacheError, match="views: the cache has 1, this run 2"):
        build(tmp_path, views=2)
    with pytest.raises(FeatureCacheError, match=r"image_size: the cache has \[16, 24\], this run \[24, 16\]"):
        build(tmp_path, data=dataclasses.replace(DATA, image_size=(24, 16)))
    other = make_source(IMAGES)
    other.fingerprint = "other images"
    with pytest.raises(FeatureCacheError, match="source: the cache has 'memory', this run 'other images'"):
        build(tmp_path, other)
    # Settings that the plain view does not depend on may change.
    build(tmp_path, encode_fn=None, data=dataclasses.replace(DATA, augment=AugmentConfig(), batch_size=7))


def test_bad_images_are_zeros_and_stay_known(tmp_path):
    images = make_source(IMAGES).images
    images[5], images[11] = b"junk", b""
    data = dataclasses.replace(DATA, max_bad_share=0.1)
    for encode_fn in (encode, None):
        source = MemorySource(images)
        cache = build(tmp_path, source, encode_fn, data=data)
        tokens, mask, ok = cache.read_with_masks(np.array([4, 5, 11]), np.array([0, 0, 0]))
        assert ok.tolist() == [True, False, False]
        assert tokens[0].any() and not tokens[1:].any()
        assert mask.shape == (3, REGIONS) and (mask == ok[:, None]).all()
        reasons = dict(source.quarantine.rows)
        assert set(reasons) == {"image-5", "image-11"} and "no JPEG" in reasons["image-5"]
    with pytest.raises(QuarantineError):
        build(tmp_path, MemorySource(images), None, data=DATA)


def test_values_that_are_no_numbers_are_refused(tmp_path):
    with pytest.raises(FeatureCacheError, match="no finite numbers"):
        build(tmp_path, encode_fn=lambda images: encode(images) / 0.0)


def test_large_values_stay_finite(tmp_path):
    cache = build(tmp_path, encode_fn=lambda images: encode(images) * 1e5)
    assert np.isfinite(cache.read([1], [0])).all()


def test_a_full_disk_says_what_to_do(tmp_path, monkeypatch, small_shards):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    usage = type("Usage", (), {"free": 100})
    with monkeypatch.context() as patch:
        patch.setattr(write_features.shutil, "disk_usage", lambda folder: usage)
        with pytest.raises(FeatureCacheError, match="GB more .* lower `image_encoder.cache_views`"):
            build(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(write_features.os, "fsync", full)
        with pytest.raises(FeatureCacheError, match="No space left on device.*run again once there is room"):
            build(tmp_path)
    assert len(everything(build(tmp_path))) == 1
