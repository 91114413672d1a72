"""Laws of the batches: order, lengths, weights, contexts, and images that cannot be read."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from memory_source import MemoryFeatures, MemorySource, encode_image, make_source, pixels_of
from PIL import Image

from vl_keras.config import config_from_dict
from vl_keras.data.caption_words import content_words, set_aside_caption, swap_sides
from vl_keras.data.feature_cache import FeatureCache
from vl_keras.data.image_batches import load_image, load_images
from vl_keras.data.pipeline import caption_dataset, evaluation_batches, references, steps_per_epoch
from vl_keras.data.source import open_source
from vl_keras.data.text_ops import CaptionTokenizer, tidy_caption
from vl_keras.errors import ConfigError

IMAGES, BATCH, K = 17, 4, 3
AUGMENT = {"crop_min_area": 0.5, "flip": True, "rotation": 10.0, "color": 0.2}


def make_config(**data):
    data = {"batch_size": BATCH, "captions_per_image": K, "length_buckets": [5, 8], "image_size": [24, 32], **data}
    training = {"seed": data.pop("seed", 3)}
    return config_from_dict({"data": data, "text": {"max_length": data.pop("max_length", 13)}, "training": training})


@pytest.fixture(scope="module")
def source():
    return make_source(IMAGES)


@pytest.fixture(scope="module")
def tokenizer(source):
    words = sorted({word for own in source.captions for text in own for word in text.split()} | {"right"})
    return CaptionTokenizer([*CaptionTokenizer.SPECIALS, *words])


def take(config, source, tokenizer, count=None, training=True, **options):
    """Batches with made tokens for images, which is quick."""
    return take_images(config, source, tokenizer, count, training, features=MemoryFeatures(len(source)), **options)


def take_images(config, source, tokenizer, count=None, training=True, **options):
    dataset = caption_dataset(config, source, tokenizer, training=training, **options)
    return list((dataset if count is None else dataset.take(count)).as_numpy_iterator())


def texts_of(tokenizer, y):
    return [[text.decode() for text in own] for own in tokenizer.detokenize(tf.constant(y)).numpy()]


def image_of(texts):
    """The image that captions name."""
    names = {text.split()[0] for text in texts if text}
    assert len(names) == 1
    return int(names.pop().removeprefix("image"))


def assert_equal(left, right):
    tf.nest.map_structure(np.testing.assert_array_equal, left, right)


def test_an_epoch_has_every_image_at_most_once_with_captions_of_its_own(source, tokenizer):
    config = make_config()
    steps = steps_per_epoch(config, source)
    assert steps == IMAGES // BATCH
    batches = take(config, source, tokenizer, 2 * steps)
    epochs = []
    for start in (0, steps):
        images = []
        for x, y, _ in batches[start : start + steps]:
            assert x["image_tokens"].shape == (BATCH, 3, 2) and x["image_tokens"].dtype == np.float16
            for row, own in enumerate(texts_of(tokenizer, y)):
                index = image_of(own)
                given = source.captions[index]
                assert set(own) - {""} <= set(given)
                assert sum(bool(text) for text in own) == min(K, len(given)) == len(set(own) - {""})
                assert (x["image_tokens"][row] == index).all()
                images.append(index)
        assert len(set(images)) == len(images) == steps * BATCH
        epochs.append(images)
    assert epochs[0] != epochs[1]


def test_a_stream_taken_up_at_any_step_is_the_unbroken_stream(source, tokenizer):
    config = make_config(augment={**AUGMENT, "word_swap": 0.2}, context="caption_words", context_dropout=0.3)
    options = {"prepare_context": lambda contexts: {"context_length": tf.strings.length(contexts)}}
    unbroken = take_images(config, source, tokenizer, 9, **options)
    assert_equal(unbroken[6:], take_images(config, source, tokenizer, 3, first_step=6, **options))
    tokens = take(config, source, tokenizer, 9, **options)
    for first_step in (1, 4):
        assert_equal(
            tokens[first_step:], take(config, source, tokenizer, 9 - first_step, first_step=first_step, **options)
        )


def test_the_seed_decides_the_order(source, tokenizer):
    first, same, other = (take(make_config(seed=seed), source, tokenizer, 2) for seed in (3, 3, 4))
    assert_equal(first, same)
    assert not np.array_equal(first[0][0]["image_tokens"], other[0][0]["image_tokens"])


def test_batches_are_padded_to_the_smallest_bucket_that_holds_them(source, tokenizer):
    seen = set()
    for _, y, _ in take(make_config(captions_per_image=1, batch_size=2), source, tokenizer, 40):
        longest = (y != 0).sum(axis=-1).max()
        assert y.shape[-1] == min(length for length in (5, 8, 13) if length >= longest)
        seen.add(y.shape[-1])
    assert len(seen) > 1
    for _, y, _ in take(make_config(max_length=6), source, tokenizer, 5):
        assert y.shape[-1] in (5, 6)
        real = (y != 0).sum(axis=-1)
        ends = np.take_along_axis(y, np.maximum(real - 1, 0)[..., None], axis=-1)[..., 0]
        assert (ends[real > 0] == tokenizer.END).all()


def test_decoder_input_is_the_target_one_token_later(source, tokenizer):
    for x, y, _ in take(make_config(), source, tokenizer, 5):
        ids = x["caption_ids"]
        there = y[..., 0] != 0
        assert (ids[there][:, 0] == tokenizer.START).all() and (ids[~there] == 0).all()
        expected = np.where(y == tokenizer.END, 0, y)[..., :-1]
        np.testing.assert_array_equal(ids[..., 1:], expected)


def test_weights_make_a_plain_mean_the_mean_over_tokens(source, tokenizer):
    for _, y, weight in take(make_config(), source, tokenizer, 5):
        loss = np.random.default_rng(0).uniform(size=y.shape)
        assert (weight[y == 0] == 0).all()
        np.testing.assert_allclose((weight * loss).mean(), loss[y != 0].mean(), rtol=1e-5)


def test_workers_share_a_batch_and_its_token_count(source, tokenizer):
    config = make_config(augment=AUGMENT)
    whole = take_images(config, source, tokenizer, 6)
    parts = [take_images(config, source, tokenizer, 6, num_workers=2, worker=worker) for worker in range(2)]
    joined = [tf.nest.map_structure(lambda *rows: np.concatenate(rows), *pair) for pair in zip(*parts, strict=True)]
    assert_equal(whole, joined)
    with pytest.raises(ConfigError, match="be divisible by the number of workers; got 4 and 3"):
        caption_dataset(config, source, tokenizer, training=True, num_workers=3, worker=0)


def test_too_few_images_for_a_batch_is_an_error(tokenizer):
    with pytest.raises(ConfigError, match="`data.batch_size` is 4, but split 'train' has only 3 images"):
        caption_dataset(make_config(), make_source(3), tokenizer, training=True)


def test_a_mirrored_image_has_its_sides_swapped_in_its_captions(source, tokenizer):
    flipped = 0
    for x, y, _ in take_images(make_config(augment={"flip": True}), source, tokenizer, 8):
        for row, own in enumerate(texts_of(tokenizer, y)):
            mirrored = x["image"][row, 5, 2, 0] < x["image"][row, 5, -2, 0]  # the left half is the bright one
            assert all(text.endswith("right" if mirrored else "left") for text in own if text)
            flipped += mirrored
    assert 8 < flipped < 24
    assert (
        swap_sides("Left of the bright, LEFT-most leftover: right!")
        == "Right of the bright, RIGHT-most leftover: left!"
    )


def test_without_training_each_image_comes_once_in_order_and_plain(source, tokenizer):
    config = make_config(augment=AUGMENT)
    batches = take_images(config, source, tokenizer, training=False)
    assert [len(y) for _, y, _ in batches] == [4, 4, 4, 4, 1]
    seen = [own for _, y, _ in batches for own in texts_of(tokenizer, y)]
    assert [[text for text in own if text] for own in seen] == [own[:K] for own in source.captions]
    pixels = np.concatenate([x["image"] for x, _, _ in batches])
    plain = list(evaluation_batches(config, source).as_numpy_iterator())
    np.testing.assert_array_equal(np.concatenate([indices for _, indices in plain]), np.arange(IMAGES))
    np.testing.assert_array_equal(np.concatenate([x["image"] for x, _ in plain]), pixels)
    np.testing.assert_array_equal(pixels[:, 3, 3], [pixels_of(index)[3, 3] for index in range(IMAGES)])


def test_content_words():
    assert (
        content_words("A man's dog is standing, in the RED well-kept house. dog")
        == "man dog standing red well-kept house"
    )
    assert content_words("the of a") == ""


def test_context_captions_are_neither_target_nor_reference(source, tokenizer):
    def prepare(contexts):
        return {"context": contexts}

    config = make_config(context="caption_words", captions_per_image=6)
    contexts_of_image = {}
    for x, y, _ in take(config, source, tokenizer, 24, prepare_context=prepare):
        for context, own in zip(x["context"], texts_of(tokenizer, y), strict=True):
            index = image_of(own)
            given = source.captions[index]
            left = [text for text in given if text not in own]
            assert len(left) == 1 and content_words(left[0]) == context.decode()
            contexts_of_image.setdefault(index, set()).add(context)
    assert max(map(len, contexts_of_image.values())) > 1  # another caption in another epoch

    captions, contexts = references(config, source)
    for index, image_id in enumerate(source.image_ids):
        aside = set_aside_caption(image_id, len(source.captions[index]))
        assert contexts[index] == content_words(source.captions[index][aside])
        assert captions[image_id] == [text for i, text in enumerate(source.captions[index]) if i != aside]
    batches = evaluation_batches(config, source, features=MemoryFeatures(IMAGES), prepare_context=prepare)
    shown = [x["context"] for x, _ in batches]
    assert [text.decode() for text in np.concatenate(shown)] == contexts

    hidden = make_config(context="caption_words", show_context=False)
    assert references(hidden, source) == (captions, [""] * IMAGES)
    assert not any(
        np.concatenate([x["context"] for x, _, _ in take(hidden, source, tokenizer, 4, prepare_context=prepare)])
    )


def test_cached_views_vary_and_their_mirrored_ones_swap_sides(source, tokenizer):
    flipped = np.random.default_rng(1).random((IMAGES, 3)) < 0.5
    features = MemoryFeatures(IMAGES, 3, flipped, unreadable=(2, 7))
    seen = {}
    for x, y, weight in take_images(make_config(augment={"flip": True}), source, tokenizer, 20, features=features):
        for row, own in enumerate(texts_of(tokenizer, y)):
            index, value = image_of(own), int(x["image_tokens"][row, 0, 0])
            assert x["image_mask"][row].tolist() == [index not in (2, 7)] * 3
            if index in (2, 7):
                assert value == 0 and not weight[row].any()
                continue
            view = (value - index) // 100
            assert value == index + 100 * view
            assert all(text.endswith("right" if flipped[index, view] else "left") for text in own if text)
            seen.setdefault(index, set()).add(view)
    assert set().union(*seen.values()) == {0, 1, 2} and any(len(views) > 1 for views in seen.values())
    for x, _, _ in take_images(make_config(), source, tokenizer, training=False, features=features):
        assert (x["image_tokens"] < 100).all()  # the plain view


def test_batches_are_limited_to_the_inputs_of_a_model(source, tokenizer):
    (whole,), (some,) = (
        take(make_config(), source, tokenizer, 1, inputs=inputs) for inputs in (None, ["caption_ids", "image_tokens"])
    )
    assert set(whole[0]) == {"image_tokens", "image_mask", "caption_ids"}
    assert_equal(some, ({name: whole[0][name] for name in ("image_tokens", "caption_ids")}, *whole[1:]))


def test_contexts_of_ones_own_and_their_dropout(tokenizer):
    source = make_source(IMAGES, contexts=[f"title {index} left" for index in range(IMAGES)])

    def prepare(contexts):
        return {"context": contexts}

    config = make_config(context="field", augment={"flip": True})
    for x, y, _ in take(config, source, tokenizer, 4, prepare_context=prepare):
        for context, own in zip(x["context"], texts_of(tokenizer, y), strict=True):
            side = next(text for text in own if text).split()[-1]
            assert context.decode() == f"title {image_of(own)} {side}"
    assert references(config, source)[1] == source.contexts
    half = make_config(context="field", context_dropout=0.5)
    empty = [
        not text for x, _, _ in take(half, source, tokenizer, 16, prepare_context=prepare) for text in x["context"]
    ]
    assert 16 < sum(empty) < 48


def test_an_only_caption_stays_target_and_reference(tokenizer):
    source = make_source(5, captions=[["image1 red"]] * 5)
    config = make_config(context="caption_words")
    assert references(config, source)[0]["image-2"] == ["image1 red"]
    (_, y, _) = take(config, source, tokenizer, 1)[0]
    assert (y[:, 0, 0] != 0).all()


def broken_files():
    whole = encode_image(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8), "JPEG")
    bomb = io.BytesIO()
    Image.new("L", (4000, 3000)).save(bomb, "PNG")
    return {
        "no image bytes": b"",
        "no JPEG": b"this is a text file, not an image",
        "cut short": whole[: len(whole) * 2 // 3],
        "JPEG is cut short": whole[:60],
        "data.max_pixels": bomb.getvalue(),
        "the PNG is cut short": encode_image(pixels_of(1))[:-30],
    }


@pytest.mark.parametrize("augment", [{}, AUGMENT])
def test_a_broken_image_costs_itself(tokenizer, augment):
    config = make_config(max_pixels=1_000_000, max_bad_share=0.4, augment=augment)
    bad = dict(zip((0, 3, 4, 9, 11, 16), broken_files().items(), strict=True))
    good = make_source(IMAGES)
    source = MemorySource([bad[i][1] if i in bad else data for i, data in enumerate(good.images)])
    steps = steps_per_epoch(config, source)
    for (x, y, weight), (good_x, good_y, _) in zip(
        take_images(config, source, tokenizer, 2 * steps),
        take_images(config, good, tokenizer, 2 * steps),
        strict=True,
    ):
        np.testing.assert_array_equal(y, good_y)
        loss = np.random.default_rng(1).uniform(size=y.shape)
        is_bad = np.array([image_of(own) in bad for own in texts_of(tokenizer, y)])
        assert (x["image"][is_bad] == 0).all() and (weight[is_bad] == 0).all()
        np.testing.assert_array_equal(x["image_mask"], ~is_bad)
        np.testing.assert_array_equal(x["image"][~is_bad], good_x["image"][~is_bad])
        if not is_bad.all():
            np.testing.assert_allclose((weight * loss).mean(), loss[~is_bad][y[~is_bad] != 0].mean(), rtol=1e-5)
    reasons = dict(source.quarantine.rows)
    for index, (reason, _) in bad.items():
        assert reason in reasons[f"image-{index}"], reasons
    assert len(reasons) == len(bad)


def test_one_image_is_read_as_a_batch_of_them_is():
    data = make_config(max_pixels=1_000_000, max_bad_share=1.0).data
    turned = Image.Exif()
    turned[0x0112] = 6  # orientation
    random = np.random.default_rng(0)
    contents = [
        encode_image(random.integers(0, 256, (60, 80, 3), dtype=np.uint8)),
        encode_image(random.integers(0, 256, (*data.image_size, 3), dtype=np.uint8)),
        encode_image(pixels_of(3), "JPEG", exif=turned),
    ]
    rows = tf.data.Dataset.from_tensors({"index": tf.range(len(contents), dtype=tf.int64)})
    (batch,) = load_images(rows, MemorySource(contents), data)
    for content, expected in zip(contents, batch["image"].numpy(), strict=True):
        image, reason = load_image(content, data)
        assert reason == ""
        np.testing.assert_array_equal(image, expected)
    for reason, content in broken_files().items():
        image, why = load_image(content, data)
        assert image is None and reason in why


def test_a_batch_of_broken_images_only(tokenizer):
    config = make_config(max_bad_share=1.0)
    x, _, weight = take_images(config, MemorySource([b"junk"] * 5), tokenizer, 1)[0]
    assert not x["image"].any() and not weight.any()


def test_too_many_broken_images_stop_the_run(tokenizer):
    good = make_source(IMAGES)
    source = MemorySource([b"junk" if index < 3 else data for index, data in enumerate(good.images)])
    assert len(take_images(make_config(max_bad_share=3 / IMAGES), source, tokenizer, 8)) == 8
    with pytest.raises(tf.errors.OpError, match="QuarantineError: 3 of 17 inputs.*data.max_bad_share"):
        take_images(make_config(max_bad_share=2 / IMAGES), source, tokenizer, 8)


def test_tidied_captions_are_what_is_measured_and_written(tokenizer):
    source = make_source(4, captions=[["image1 Red  green ."], ["image2 red"], ["image3 red"], ["image4 red"]])
    _, y, _ = take(make_config(), source, tokenizer, 1)[0]
    assert "image1 red green" in [text for own in texts_of(tokenizer, y) for text in own]
    assert tidy_caption(tf.constant(["Red  green ."])).numpy()[0] == b"red green"


def test_a_prepared_dataset_from_records_to_batches_and_cached_tokens(tmp_path):
    config = make_config(
        data_dir=str(tmp_path), shapes={"scenes": 21, "image_size": [24, 32], "seed": 1}, augment={"flip": True}
    )
    source = open_source(config.data, "train")
    tokenizer = CaptionTokenizer.learn([text for own in source.captions for text in own], 300)
    for x, y, weight in take_images(config, source, tokenizer, 7):
        assert x["image"].shape == (BATCH, 24, 32, 3) and x["image"].dtype == np.uint8
        assert x["image"].any(axis=(1, 2, 3)).all()
        assert y.shape == weight.shape and y.shape[:2] == (BATCH, K)
        assert (y[:, 0] == tokenizer.END).any(axis=-1).all()
    plain = np.concatenate([x["image"] for x, _ in evaluation_batches(config, source).as_numpy_iterator()])

    def encode(images):
        return tf.reshape(tf.cast(images, tf.float32), (-1, 24, 96)) / 255

    cache = FeatureCache.build_or_open(tmp_path / "cache", source, encode, "pixels", config.data, views=2, batch_size=5)
    np.testing.assert_allclose(cache.read(np.arange(21), 0), plain.reshape(21, 24, 96) / 255, atol=1e-3)
    for x, y, _ in take_images(config, source, tokenizer, 7, features=cache):
        assert x["image_tokens"].shape == (BATCH, 24, 96) and y.shape[:2] == (BATCH, K)
    assert not source.quarantine.rows


def test_two_replicas_get_the_halves_of_a_batch(source, tokenizer):
    script = (
        "import sys; sys.path[:0] = sys.argv[1:3]; import vl_keras, tensorflow as tf\n"
        "cpu = tf.config.list_physical_devices('CPU')[0]\n"
        "tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)\n"
        "import numpy as np, test_pipeline as t\n"
        "source = t.make_source(t.IMAGES); words = sorted({w for o in source.captions for s in o for w in s.split()})\n"
        "tokenizer = t.CaptionTokenizer([*t.CaptionTokenizer.SPECIALS, *words])\n"
        "options = dict(training=True, features=t.MemoryFeatures(t.IMAGES))\n"
        "data = t.caption_dataset(t.make_config(), source, tokenizer, **options)\n"
        "strategy = tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'])\n"
        "for step, (whole, parts) in enumerate(zip(data.take(5), strategy.experimental_distribute_dataset(data))):\n"
        "    for all_rows, part in zip(tf.nest.flatten(whole), tf.nest.flatten(parts)):\n"
        "        values = strategy.experimental_local_results(part)\n"
        "        assert [len(value) for value in values] == [2, 2]\n"
        "        np.testing.assert_array_equal(np.concatenate(values), all_rows)\n"
        "print('equal', step + 1)"
    )
    here = Path(__file__).parent
    command = [sys.executable, "-c", script, str(here.parents[1]), str(here)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert "equal 5" in run.stdout, run.stderr[-3000:]
