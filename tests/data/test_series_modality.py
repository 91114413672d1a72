"""A second modality goes all the way from bytes to a fusion, and only the table of modalities knows of it."""

import numpy as np
import pytest
import tensorflow as tf
from memory_source import MemoryFeatures
from series_modality import CHANNELS, MOST_STEPS, SeriesModality, SeriesSource, encode_series, series_of

from vl_keras.config import config_from_dict
from vl_keras.data.feature_cache import FeatureCache
from vl_keras.data.modalities import MODALITIES
from vl_keras.data.pipeline import caption_dataset, evaluation_batches
from vl_keras.data.text_ops import CaptionTokenizer
from vl_keras.errors import DataError, FeatureCacheError, QuarantineError
from vl_keras.layers.fusion.multi_stream_fusion import MultiStreamFusion

LENGTHS = [4, 7, 2, 5, 1, 9, 3]
ONE_EACH = [series_of(index, steps) for index, steps in enumerate(LENGTHS)]
BAD = {
    1: (b"junk", "no series"),
    3: (encode_series(ONE_EACH[3])[:-5], "damaged: the series is cut short"),
    5: (encode_series(ONE_EACH[5], steps=MOST_STEPS + 1), "13 steps are more than 12"),
}
ABSENT = 2
BATCH, WIDTH = 3, 4


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(MODALITIES, "series", SeriesModality())


@pytest.fixture(scope="module")
def tokenizer():
    return CaptionTokenizer([*CaptionTokenizer.SPECIALS, "red", *(f"example{i}" for i in range(len(LENGTHS)))])


def make_config(**data):
    data = {"batch_size": BATCH, "captions_per_image": 1, "length_buckets": [5], "max_bad_share": 0.5, **data}
    return config_from_dict({"data": data, "text": {"max_length": 5}, "training": {"seed": 3}})


def damaged_source():
    """One series each: some cannot be read, and one example has none."""
    return SeriesSource(
        [
            [] if index == ABSENT else [BAD[index][0] if index in BAD else encode_series(values)]
            for index, values in enumerate(ONE_EACH)
        ]
    )


def several_source():
    """None, one, two or three series."""
    return SeriesSource([[encode_series(ONE_EACH[i]) for i in own] for own in ([0, 1], [], [2], [3, 4, 5], [6])])


@tf.function(reduce_retracing=True)
def encode(values, mask):
    """Means of pairs of steps, and their number of real steps: `(B, T, C)` to `(B, ceil(T / 2), WIDTH)` and a mask."""
    kept = tf.pad(tf.cast(mask, tf.float32), [[0, 0], [0, tf.shape(mask)[1] % 2]])
    values = tf.pad(values, [[0, 0], [0, tf.shape(mask)[1] % 2], [0, 0]]) * kept[..., None]
    count = tf.reduce_sum(tf.reshape(kept, (tf.shape(kept)[0], -1, 2)), axis=2)
    total = tf.reduce_sum(tf.reshape(values, (tf.shape(kept)[0], -1, 2, CHANNELS)), axis=2)
    return tf.concat([total / tf.maximum(count, 1.0)[..., None], count[..., None]], axis=-1), count > 0


def encoded(values):
    """The tokens of one series by itself."""
    tokens, mask = encode(tf.constant(values[None]), tf.ones((1, len(values)), tf.bool))
    return tokens[mask].numpy()


def cache_of(folder, source, views=1):
    data = make_config().data
    return FeatureCache.build_or_open(folder, source, encode, "pairs", data, views, batch_size=2, modality="series")


def test_batches_carry_padded_series_and_a_mask_in_which_a_bad_or_absent_one_is_empty(tokenizer):
    config, source = make_config(), damaged_source()
    seen = {}
    for x, indices in evaluation_batches(config, source, features={"series": None}).as_numpy_iterator():
        assert set(x) == {"series", "series_mask"} and x["series"].dtype == np.float32
        assert x["series"].shape == (*x["series_mask"].shape, CHANNELS)
        assert not x["series"][~x["series_mask"]].any()
        for values, mask, index in zip(x["series"], x["series_mask"], indices, strict=True):
            seen[index] = values[mask]
    for index, values in enumerate(ONE_EACH):
        expected = values[:0] if index in BAD or index == ABSENT else values
        np.testing.assert_array_equal(seen[index], expected)
    reasons = dict(source.quarantine.rows)
    assert set(reasons) == {f"example-{index} (1)" for index in BAD}
    assert all(reason in reasons[f"example-{index} (1)"] for index, (_, reason) in BAD.items())
    with pytest.raises(tf.errors.OpError, match="QuarantineError: 3 of 6 inputs"):
        list(evaluation_batches(make_config(max_bad_share=0.2), damaged_source(), features={"series": None}))

    for x, y, weight in caption_dataset(config, source, tokenizer, training=True, features={"series": None}).take(6):
        for text, mask, own in zip(tokenizer.detokenize(y).numpy()[:, 0], x["series_mask"], weight, strict=True):
            index = int(text.split()[0].removeprefix(b"example"))
            assert np.any(own) == (index not in BAD)  # an example without a series is still learned from
            assert np.any(mask) == (index not in BAD and index != ABSENT)


def test_several_series_must_be_encoded_beforehand():
    with pytest.raises(DataError, match="example-0` holds 2 contents of the modality `series`.*cache_features"):
        evaluation_batches(make_config(), several_source(), features={"series": None})


def test_a_cache_keeps_as_many_tokens_as_each_series_has(tmp_path):
    source = several_source()
    cache = cache_of(tmp_path, source)
    assert cache.token_shape == (None, WIDTH)
    tokens, mask, ok = cache.read_with_masks([3, 1, 0], 0)
    expected = [[3, 4, 5], [], [0, 1]]
    assert ok.all() and tokens.shape == (3, 3 + 1 + 5, WIDTH) and not tokens[~mask].any()
    for row, real, own in zip(tokens, mask, expected, strict=True):
        wanted = np.concatenate([np.zeros((0, WIDTH)), *(encoded(ONE_EACH[i]) for i in own)])
        np.testing.assert_allclose(row[real], wanted, rtol=2e-3, atol=1e-3)
        np.testing.assert_array_equal(real, np.arange(len(real)) < len(wanted))
    again = FeatureCache.build_or_open(
        tmp_path, several_source(), None, "pairs", make_config().data, batch_size=2, modality="series"
    )
    np.testing.assert_array_equal(again.read([3, 1, 0], 0), tokens)
    other = several_source()
    other.fingerprint = "other series"
    with pytest.raises(FeatureCacheError, match="source: the cache has 'series in memory', this run 'other series'"):
        cache_of(tmp_path, other)


def test_a_bad_series_has_no_tokens_in_the_cache_and_stays_known(tmp_path):
    for _ in range(2):  # made, then opened
        source = damaged_source()
        tokens, mask, ok = cache_of(tmp_path, source).read_with_masks(np.arange(len(LENGTHS)), 0)
        assert ok.tolist() == [index not in BAD for index in range(len(LENGTHS))]
        real = [0 if index in BAD or index == ABSENT else -(-steps // 2) for index, steps in enumerate(LENGTHS)]
        assert mask.sum(axis=1).tolist() == real
        assert {name for name, _ in source.quarantine.rows} == {f"example-{index} (1)" for index in BAD}
    strict = make_config(max_bad_share=0.2).data
    with pytest.raises(QuarantineError):
        FeatureCache.build_or_open(tmp_path, damaged_source(), None, "pairs", strict, batch_size=2, modality="series")


def test_cached_series_and_images_are_fused_with_their_masks(tmp_path, tokenizer):
    source = several_source()
    features = {"image": MemoryFeatures(len(source), unreadable=(2,)), "series": cache_of(tmp_path, source, views=2)}
    fusion = MultiStreamFusion(hidden_dim=5)

    def batches(first_step, count):
        stream = caption_dataset(
            make_config(), source, tokenizer, training=True, first_step=first_step, features=features
        )
        return list(stream.take(count))

    unbroken = batches(0, 4)
    tf.nest.map_structure(np.testing.assert_array_equal, unbroken[2:], batches(2, 2))
    for x, _, weight in unbroken:
        names = ("image_tokens", "image_mask", "series_tokens", "series_mask")
        image, image_mask, series, series_mask = (x[name] for name in names)
        assert series.shape == (BATCH, series_mask.shape[1], WIDTH) and series.dtype == tf.float16
        np.testing.assert_array_equal(np.any(image_mask, axis=1), np.any(weight, axis=(1, 2)))
        fused = fusion(tf.cast(image, tf.float32), image_mask, tf.cast(series, tf.float32), series_mask)
        noise = tf.where(series_mask[..., None], tf.cast(series, tf.float32), 9.0)
        np.testing.assert_allclose(fused, fusion(tf.cast(image, tf.float32), image_mask, noise, series_mask), atol=1e-6)
        assert np.isfinite(fused).all()
