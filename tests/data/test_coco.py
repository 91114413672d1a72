"""COCO from its official captions, from Karpathy's JSON, and through TFDS's own builder: miniatures of each."""

import json

import numpy as np
import pytest
import tensorflow_datasets as tfds
from miniature import captions_of, data_config, images_of, photo, write_folder, write_zip

from vl_keras.data.source import open_source
from vl_keras.errors import DataError

TRAIN, VAL = [9, 25, 30], [42, 73]


def captions(number):
    return [f"Caption {order} of {number}." for order in range(5)]


def official(numbers, file_name):
    return {
        "info": {"year": 2017},
        "licenses": [],
        "images": [{"id": n, "file_name": file_name(n), "height": 32, "width": 48} for n in numbers],
        "annotations": [
            {"image_id": n, "id": 10 * n + order, "caption": f"{text}\n"}
            for n in numbers
            for order, text in enumerate(captions(n))
        ],
    }


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("year", ["2014", "2017"])
def test_official_captions(tmp_path, year, packed):
    (tmp_path / "annotations").mkdir()
    for part, numbers in (("train", TRAIN), ("val", VAL)):

        def name(n, part=part):
            return f"COCO_train2014_{n:012d}.jpg" if year == "2014" and part == "train" else f"{n:012d}.jpg"

        files = {f"{part}{year}/{name(n)}": photo(n) for n in numbers}
        if packed:
            write_zip(tmp_path / f"{part}{year}.zip", files)
        else:
            write_folder(tmp_path, files)
        content = official(numbers, name)
        content["annotations"].append({"image_id": 5, "id": 1, "caption": "of no image"})
        (tmp_path / "annotations" / f"captions_{part}{year}.json").write_text(json.dumps(content))
    config = data_config(tmp_path, dataset="coco", manual_dir=str(tmp_path))
    for split, numbers in (("train", TRAIN), ("dev", VAL)):
        source = open_source(config, split)
        assert captions_of(source) == {str(n): captions(n) for n in numbers}
        assert images_of(source) == {str(n): photo(n) for n in numbers}
        assert [name for name, _ in source.quarantine.rows][0].endswith("annotation 1")
    with pytest.raises(DataError, match="no split `test`.*dataset_coco.json"):
        open_source(config, "test")


def karpathy():
    parts = {9: "train", 25: "restval", 30: "train", 42: "val", 73: "test"}
    return {
        "dataset": "coco",
        "images": [
            {
                "filepath": "train2014" if n in TRAIN and n != 25 else "val2014",
                "filename": f"COCO_{n:012d}.jpg",
                "cocoid": n,
                "split": part,
                "sentences": [{"raw": text, "sentid": order} for order, text in enumerate(captions(n))],
            }
            for n, part in parts.items()
        ],
    }


def test_karpathys_splits(tmp_path):
    (tmp_path / "dataset_coco.json").write_text(json.dumps(karpathy()))
    write_folder(tmp_path, {f"train2014/COCO_{n:012d}.jpg": photo(n) for n in (9, 30)})
    write_folder(tmp_path, {f"val2014/COCO_{n:012d}.jpg": photo(n) for n in (25, 42, 73)})
    config = data_config(tmp_path, dataset="coco", manual_dir=str(tmp_path))
    got = {split: captions_of(open_source(config, split)) for split in ("train", "dev", "test")}
    assert got == {
        split: {str(n): captions(n) for n in numbers}
        for split, numbers in (("train", TRAIN), ("dev", [42]), ("test", [73]))
    }


def test_what_is_missing_is_named(tmp_path):
    config = data_config(tmp_path, dataset="coco", manual_dir=str(tmp_path))
    with pytest.raises(DataError, match="`data.manual_dir`.*captions_train2017.json"):
        open_source(config, "train")
    (tmp_path / "captions_train2017.json").write_text(json.dumps(official(TRAIN, "{}.jpg".format)))
    with pytest.raises(DataError, match="`data.manual_dir`.*train2017"):
        open_source(config, "train")
    write_folder(tmp_path, {"train2017/9.jpg": photo(9)})
    (tmp_path / "captions_train2017.json").write_text('{"images": [{}]}')
    with pytest.raises(DataError, match="captions_train2017.json.*COCO's captions format"):
        open_source(config, "train")


def test_tfds_coco_captions(tmp_path, monkeypatch):
    """What TFDS downloads is replaced by folders of the same layout; all that reads them is TFDS's own code."""
    archives = tmp_path / "archives"
    instances = {
        part: {
            "categories": [{"id": n, "name": f"thing {n}"} for n in range(11, 91)],  # as many as COCO has
            "images": [{"id": n, "file_name": f"COCO_{n:012d}.jpg", "height": 32, "width": 48} for n in numbers],
            "annotations": [
                {"id": n, "image_id": n, "category_id": 18, "bbox": [12, 8, 24, 16], "area": 9, "iscrowd": 0}
                for n in numbers
            ],
        }
        for part, numbers in (("train", [9, 30]), ("val", [25, 42, 73]), ("test", [1]))
    }
    for part, content in instances.items():
        name = "image_info" if part == "test" else "instances"
        write_folder(
            archives,
            {f"{part}_images/{part}2014/{row['file_name']}": photo(row["id"]) for row in content["images"]}
            | {f"{part}_annotations/annotations/{name}_{part}2014.json": json.dumps(content).encode()},
        )
    write_folder(archives, {"karpathy_and_li_splits/dataset_coco.json": json.dumps(karpathy()).encode()})

    def download(self, urls):
        names = {"validation": "val"}
        return {
            key: str(archives / "_".join(names.get(word, word) for word in key.split("_")))
            if not key.startswith("karpathy")
            else str(archives / key)
            for key in urls
        }

    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", download)
    config = data_config(tmp_path, dataset="coco_captions")
    for split, numbers in (("train", TRAIN), ("dev", [42]), ("test", [73])):
        source = open_source(config, split)
        assert captions_of(source) == {str(n): captions(n) for n in numbers}
        assert images_of(source) == {str(n): photo(n) for n in numbers}
        for rows in source.objects:
            assert [row["label"] for row in rows] == ["thing 18"]
            np.testing.assert_allclose(rows[0]["bbox"], (0.25, 0.25, 0.75, 0.75))
