"""Flickr30k from Karpathy's JSON or the official token file, as a miniature that the test writes."""

import json

import pytest
from miniature import captions_of, data_config, images_of, photo, write_folder

from vl_keras.data.source import open_source
from vl_keras.errors import DataError

NAMES = [f"10{number:02d}.jpg" for number in range(47)]


def captions(name):
    return [f"Caption {order} of {name} ." for order in range(5)]


def write_images(folder, names=NAMES):
    write_folder(folder, {f"flickr30k-images/{name}": photo(int(name[:-4])) for name in names})


def write_tokens(folder):
    lines = [f"{name}#{order}\t{text}\n" for name in NAMES for order, text in enumerate(captions(name))]
    (folder / "results_20130124.token").write_text("".join(lines), encoding="utf-8")


def open_all(folder):
    config = data_config(folder, dataset="flickr30k", manual_dir=str(folder))
    return {split: open_source(config, split) for split in ("train", "dev", "test")}


def test_karpathys_json(tmp_path):
    write_images(tmp_path, NAMES[:-1])
    splits = {name: "train" for name in NAMES} | {NAMES[3]: "val", NAMES[4]: "val", NAMES[7]: "test"}
    rows = [
        {
            "filename": name,
            "split": split,
            "imgid": number,
            "sentids": list(range(5)),
            "sentences": [{"raw": text, "tokens": text.split(), "sentid": 0} for text in captions(name)],
        }
        for number, (name, split) in enumerate(splits.items())
    ]
    (tmp_path / "dataset_flickr30k.json").write_text(json.dumps({"images": rows, "dataset": "flickr30k"}))
    write_tokens(tmp_path)  # the JSON wins
    sources = open_all(tmp_path)
    assert captions_of(sources["dev"]) == {name: captions(name) for name in NAMES[3:5]}
    assert images_of(sources["test"]) == {NAMES[7]: photo(1007)}
    assert len(sources["train"]) == 43 and dict(sources["train"].quarantine.rows) == {
        NAMES[-1]: "listed, but there is no such image"
    }


@pytest.mark.parametrize("suffix", ["", ".jpg"])
def test_the_token_file_with_lists(tmp_path, suffix):
    write_images(tmp_path)
    write_tokens(tmp_path)
    for file, names in (("train", NAMES[:40]), ("val", NAMES[40:43]), ("test", NAMES[43:])):
        (tmp_path / f"{file}.txt").write_text("".join(f"{name[:-4]}{suffix}\n" for name in names))
    sources = open_all(tmp_path)
    assert [len(source) for source in sources.values()] == [40, 3, 4]
    assert captions_of(sources["test"]) == {name: captions(name) for name in NAMES[43:]}
    assert sources["train"].notes == []


def test_a_list_that_is_not_utf8_costs_its_own_lines(tmp_path):
    write_images(tmp_path)
    write_tokens(tmp_path)
    names = [name.encode() for name in NAMES[:3]]
    (tmp_path / "train.txt").write_bytes(b"\n".join([*names, b"caf\xe9.jpg"]))
    config = data_config(tmp_path, dataset="flickr30k", manual_dir=str(tmp_path))
    source = open_source(config, "train")
    assert set(source.image_ids) == set(NAMES[:3])
    assert dict(source.quarantine.rows) == {"caf\ufffd.jpg": "listed, but there is no such image"}


def test_the_token_file_alone_is_split_by_a_hash(tmp_path):
    write_images(tmp_path)
    write_tokens(tmp_path)
    sources = open_all(tmp_path)
    ids = [set(source.image_ids) for source in sources.values()]
    assert set.union(*ids) == set(NAMES) and sum(map(len, ids)) == len(NAMES) and all(ids)
    assert len(sources["train"]) > len(NAMES) / 2
    assert "dataset_flickr30k.json" in sources["dev"].notes[0]
    assert {name: rows for s in sources.values() for name, rows in captions_of(s).items()} == {
        name: captions(name) for name in NAMES
    }


def test_what_is_missing_is_named(tmp_path):
    config = data_config(tmp_path, dataset="flickr30k", manual_dir=str(tmp_path))
    with pytest.raises(DataError, match="`data.manual_dir`.*dataset_flickr30k.json or results_20130124.token"):
        open_source(config, "train")
    write_tokens(tmp_path)
    with pytest.raises(DataError, match="`data.manual_dir`.*flickr30k-images"):
        open_source(config, "train")
    write_images(tmp_path)
    (tmp_path / "dataset_flickr30k.json").write_text('{"images": [{"filename": "1.jpg"}]}')
    with pytest.raises(DataError, match="dataset_flickr30k.json.*Karpathy's format"):
        open_source(config, "train")
