"""A source gives what TFDS prepared, prepares again only what changed, and damage costs only itself."""

import dataclasses
import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from miniature import data_config, images_of

from tests.failing_files import read_only
from vl_keras.config import ShapesConfig
from vl_keras.data.source import open_source, prepare
from vl_keras.errors import DataError, QuarantineError

SHAPES = ShapesConfig(scenes=23, image_size=(32, 48), seed=5)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return data_config(tmp_path_factory.mktemp("shapes"), shapes=SHAPES)


def record_file(config, split):
    (path,) = Path(config.data_dir).rglob(f"*-{split}.tfrecord*")
    return path


def test_gives_what_tfds_reads(config):
    source = open_source(config, "train")
    dataset = prepare(config).as_dataset("train", decoders={"image": tfds.decode.SkipDecoding()})
    rows = {row["image_id"].decode(): row for row in tfds.as_numpy(dataset)}
    assert len(source) == len(rows) == 23
    images = source.read_images(np.arange(23))
    for index, name in enumerate(source.image_ids):
        row = rows[name]
        assert images[index] == row["image"]
        assert source.captions[index] == [caption.decode() for caption in row["captions"]]
        assert source.contexts[index] == row["context"].decode() == ""
        labels = [item["label"] for item in source.objects[index]]
        assert labels == [label.decode() for label in row["objects"]["label"]]
        boxes = [item["bbox"] for item in source.objects[index]]
        np.testing.assert_array_equal(np.array(boxes, np.float32), row["objects"]["bbox"])
        for ours, key in ((source.questions, "questions"), (source.dialogues, "dialogue")):
            for name in ours[index][0]:
                assert [item[name] for item in ours[index]] == [text.decode() for text in row[key][name]]


def test_what_is_prepared_is_opened_on_a_disk_that_may_only_be_read(config, monkeypatch):
    captions = open_source(config, "dev").captions
    read_only(monkeypatch, config.data_dir)
    assert open_source(config, "dev").captions == captions
    other = dataclasses.replace(config, shapes=dataclasses.replace(SHAPES, seed=6))
    with pytest.raises(DataError, match="cannot be prepared .*Read-only"):
        open_source(other, "dev")


def test_preparing_asks_no_bucket_and_leaves_no_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tensorflow_datasets.core.utils.gcs_utils.gcs_dataset_info_files", None)
    open_source(data_config(tmp_path / "data", shapes=dataclasses.replace(SHAPES, scenes=3)), "train")
    assert not list((tmp_path / "temporary").iterdir())


def test_opens_again_without_preparing_and_without_scanning(config):
    first = open_source(config, "dev")
    before = {path: path.stat().st_mtime_ns for path in Path(config.data_dir).rglob("*") if path.name != "lock"}
    second = open_source(config, "dev")
    after = {path: path.stat().st_mtime_ns for path in Path(config.data_dir).rglob("*") if path.name != "lock"}
    assert before == after
    assert images_of(first) == images_of(second)
    assert (first.fingerprint, first.captions) == (second.fingerprint, second.captions)


def test_changed_settings_are_prepared_anew_and_the_fingerprint_follows_the_content(config, tmp_path):
    source = open_source(config, "train")
    reseeded = open_source(dataclasses.replace(config, shapes=dataclasses.replace(SHAPES, seed=6)), "train")
    assert images_of(source) != images_of(reseeded) and source.fingerprint != reseeded.fingerprint
    elsewhere = open_source(dataclasses.replace(config, data_dir=str(tmp_path)), "train")
    assert elsewhere.fingerprint == source.fingerprint


def test_max_examples_keeps_the_first(config):
    whole, some = open_source(config, "train"), open_source(dataclasses.replace(config, max_examples=7), "train")
    assert some.image_ids == whole.image_ids[:7] and some.captions == whole.captions[:7]
    assert list(some.read_images(range(7))) == list(whole.read_images(range(7)))
    assert len(some) == len(some.contexts) == len(some.objects) == 7
    assert some.fingerprint != whole.fingerprint


def test_a_damaged_record_costs_itself(tmp_path):
    config = data_config(tmp_path, shapes=SHAPES)
    source = open_source(config, "train")
    expected, names = images_of(source), source.image_ids
    path = record_file(config, "train")
    content = bytearray(path.read_bytes())
    place = content.find(expected[names[4]])
    content[place + 30] ^= 1
    written = path.stat().st_mtime_ns
    path.write_bytes(content)
    os.utime(path, ns=(written, written))  # as damage on a disk would: the file looks the same, the index stays

    damaged = open_source(config, "train")
    images = images_of(damaged)
    assert images.pop(names[4]) == b"" and expected.pop(names[4])
    assert images == expected
    assert [name for name, _ in damaged.quarantine.rows] == [names[4]]

    os.utime(path)  # a file that was written to is scanned again
    rescanned = open_source(config, "train")
    assert images_of(rescanned) == expected
    assert len(rescanned.quarantine) == 1 and rescanned.fingerprint != source.fingerprint


def test_a_broken_index_is_made_anew(tmp_path):
    config = data_config(tmp_path, shapes=SHAPES)
    names = open_source(config, "test").image_ids
    (index,) = Path(config.data_dir).rglob("index-test.npz")
    index.write_bytes(index.read_bytes()[:100])
    assert open_source(config, "test").image_ids == names
    assert len(index.read_bytes()) > 100


def test_unknown_names_say_what_there_is(config):
    with pytest.raises(DataError, match="no split `validation`.*train, dev, test"):
        open_source(config, "validation")
    with pytest.raises(DataError, match="`data.dataset` must be one of shapes, flickr8k.*'flickr9k'"):
        open_source(dataclasses.replace(config, dataset="flickr9k"), "train")


def test_a_data_dir_that_cannot_be_written_is_named(config, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="`data.data_dir`.*file"):
        open_source(dataclasses.replace(config, data_dir=str(tmp_path / "file")), "train")


def test_too_many_skipped_inputs_stop_the_run_unless_unchecked(tmp_path):
    rows = [json.dumps({"image": f"{n}.jpg", "captions": ["a"], "split": "dev"}) for n in range(3)]
    (tmp_path / "m.jsonl").write_text("\n".join([*rows, "no JSON"]))
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(b"\xff\xd8\xff" + bytes([number]))
    config = data_config(tmp_path, manifest=str(tmp_path / "m.jsonl"), max_bad_share=0.2)
    with pytest.raises(QuarantineError, match="m.jsonl:4"):
        open_source(config, "dev")
    assert len(open_source(config, "dev", check=False)) == 3
    assert len(open_source(dataclasses.replace(config, max_bad_share=0.25), "dev")) == 3


def test_a_line_of_no_split_counts_once_against_the_whole_dataset(tmp_path):
    splits = ["dev"] * 2 + ["train"] * 27
    rows = [json.dumps({"image": f"{n}.jpg", "captions": ["a"], "split": split}) for n, split in enumerate(splits)]
    (tmp_path / "m.jsonl").write_text("\n".join([*rows, "no JSON"]))
    for number in range(29):
        (tmp_path / f"{number}.jpg").write_bytes(b"\xff\xd8\xff" + bytes([number]))
    config = data_config(tmp_path, manifest=str(tmp_path / "m.jsonl"), max_bad_share=1 / 30)
    for split in ("train", "dev"):  # of whose two images it would be a third
        source = open_source(config, split)
        source.check_quarantine(config.max_bad_share)
        assert [name for name, _ in source.quarantine.rows] == ["m.jsonl:30"]
        with pytest.raises(QuarantineError, match="(?s)1 of 30 inputs.*m.jsonl:30"):
            open_source(dataclasses.replace(config, max_bad_share=0.03), split)


def test_two_that_ask_at_once_prepare_once(config, tmp_path):
    expected = open_source(config, "train").fingerprint
    config = dataclasses.replace(config, data_dir=str(tmp_path))
    with ThreadPoolExecutor(3) as pool:
        got = list(pool.map(lambda _: open_source(config, "train").fingerprint, range(3)))
    assert got == [expected] * 3
    record_file(config, "train")  # exactly one
