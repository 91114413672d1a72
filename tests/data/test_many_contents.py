"""Examples with none, one or several images, and with contents of a second modality: from a manifest to a batch."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from memory_source import encode_image, pixels_of
from miniature import data_config
from series_modality import SeriesModality, encode_series, series_of

from vl_keras.config import config_from_dict
from vl_keras.data.feature_cache import FeatureCache
from vl_keras.data.modalities import MODALITIES
from vl_keras.data.pipeline import evaluation_batches
from vl_keras.data.source import open_source

SIZE = (16, 24)
ROWS = {
    "both.png + more/2.png": {"image": ["both.png", "./more/2.png"]},
    "one.png + a.series": {"image": "one.png", "series": "a.series"},
    "b.series": {"series": ["b.series"]},
    "bad.png + last.png": {"image": ["bad.png", "last.png"]},
    "worse.png": {"image": "worse.png"},
}
PIXELS = {"dev.png": 0, "both.png": 1, "more/2.png": 2, "one.png": 3, "last.png": 4}
BAD = {"bad.png": b"\xff\xd8\xffcut", "worse.png": b"junk"}
SERIES = {"a.series": series_of(0, 4), "b.series": series_of(1, 7)}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(MODALITIES, "series", SeriesModality())


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "more").mkdir()
    files = {name: encode_image(pixels_of(number, *SIZE)) for name, number in PIXELS.items()} | BAD
    files |= {name: encode_series(values) for name, values in SERIES.items()}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def write(folder, *more):
    rows = [{**row, "captions": [name], "split": "train"} for name, row in ROWS.items()]
    rows.append({"image": "dev.png", "captions": ["dev"], "split": "dev"})
    lines = [json.dumps(row) for row in (*rows, *more)]
    (folder / "own.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return data_config(folder, manifest=str(folder / "own.jsonl"), image_size=SIZE, max_bad_share=0.4)


def test_a_manifest_names_any_number_of_files_for_an_example(folder):
    config = write(folder)
    source = open_source(config, "train")
    assert set(source.image_ids) == set(ROWS) and source.modalities == ("image", "series")
    assert [own[0] for own in source.captions] == source.image_ids
    images, series = source.counts("image"), source.counts("series")
    for name, image, values in zip(source.image_ids, images, series, strict=True):
        assert (image, values) == (name.count(".png"), name.count(".series"))
    expected = [part for name in source.image_ids for part in name.split(" + ") if part.endswith(".png")]
    contents = source.read("image", np.arange(len(expected)))
    assert list(contents) == [(folder / name).read_bytes() for name in expected]
    first = dict(zip(source.image_ids, source.read_images(range(len(ROWS))), strict=True))
    assert first["both.png + more/2.png"] == (folder / "both.png").read_bytes() and first["b.series"] == b""
    assert "both.png + more/2.png (image 2)" in source.names("image") and "worse.png" in source.names("image")
    assert set(source.names("series")) == {"one.png + a.series (series 1)", "b.series"}

    again = open_source(config, "train")  # from the index
    assert again.fingerprint == source.fingerprint and list(again.read("series", [0, 1])) == list(
        source.read("series", [0, 1])
    )
    few = open_source(dataclasses.replace(config, max_examples=3), "train")
    assert few.image_ids == source.image_ids[:3] and few.counts("image").tolist() == images[:3].tolist()
    assert few.names("image") == source.names("image")[: images[:3].sum()]


def test_a_file_in_two_splits_or_missing_costs_its_line(folder):
    config = write(
        folder,
        {"image": ["new.png", "more/2.png"], "captions": ["x"], "split": "dev"},
        {"image": ["gone.png", "one.png"], "captions": ["x"]},
        {"image": ["one.png", 7], "captions": ["x"]},
        {"image": [], "captions": ["x"]},
    )
    source = open_source(dataclasses.replace(config, max_bad_share=1.0), "train")
    reasons = dict(source.quarantine.rows)
    assert "there is no such file" in reasons["gone.png + one.png"]
    assert "must be a string" in reasons["own.jsonl:9"] and "names no file" in reasons["own.jsonl:10"]
    assert set(source.image_ids) == set(ROWS)
    dev = open_source(dataclasses.replace(config, max_bad_share=1.0), "dev")
    assert dev.image_ids == ["dev.png"] and dev.counts("series").tolist() == [0]
    assert "`more/2.png` is in split train already (line 1)" in dict(dev.quarantine.rows)["own.jsonl:7"]


def test_the_tokens_of_several_images_stand_one_after_the_other_with_their_mask(folder):
    source = open_source(write(folder), "train")

    def encode(images):
        """`(B, 16, 24, 3)` to `(B, 2, 3)`: the mean colours of the left and the right half."""
        return tf.stack([tf.reduce_mean(images[:, :, part], axis=(1, 2)) for part in (slice(12), slice(12, None))], 1)

    data = config_from_dict({"data": {"image_size": list(SIZE), "max_bad_share": 0.4}}).data
    cache = FeatureCache.build_or_open(folder / "cache", source, encode, "halves", data, batch_size=2)
    assert cache.token_shape == (None, 3)
    config = config_from_dict({"data": {"image_size": list(SIZE), "batch_size": 5, "max_bad_share": 0.4}})
    ((x, indices),) = evaluation_batches(config, source, features=cache).as_numpy_iterator()
    for tokens, mask, index in zip(x["image_tokens"], x["image_mask"], indices, strict=True):
        parts = [part for part in source.image_ids[index].split(" + ") if part in PIXELS]
        colors = [pixels_of(PIXELS[part], *SIZE)[0, place] for part in parts for place in (0, -1)]
        np.testing.assert_allclose(tokens[mask], np.array(colors).reshape(-1, 3), atol=0.5)
        assert not tokens[~mask].any() and mask[: len(colors)].all()
    _, _, ok = cache.read_with_masks(np.arange(len(ROWS)), 0)
    assert {name for name, good in zip(source.image_ids, ok, strict=True) if not good} == {"worse.png"}
    assert {name for name, _ in source.quarantine.rows} == {"bad.png + last.png (image 1)", "worse.png"}
