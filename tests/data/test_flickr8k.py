"""Flickr8k's official layout, as a miniature that the test writes."""

import pytest
from miniature import captions_of, data_config, images_of, photo, write_folder, write_zip

from vl_keras.data.source import open_source
from vl_keras.errors import DataError

NAMES = [f"{number}_a{number}.jpg" for number in range(11)]
STRAY = "2258277193_586949ec62.jpg.1"
SPLITS = {"trainImages": NAMES[:5] + ["111_gone.jpg"], "devImages": NAMES[5:7], "testImages": NAMES[7:10]}


def captions(name):
    return [f"Caption {order} of {name}, a dog 's ball ." for order in range(5)]


def images():
    files = {f"Flicker8k_Dataset/{name}": photo(seed) for seed, name in enumerate(NAMES)}
    return files | {f"__MACOSX/Flicker8k_Dataset/._{NAMES[0]}": b"resource fork"}


def texts(splits=SPLITS):
    lines = [f"{name}#{order}\t{text}" for name in [*NAMES, STRAY] for order, text in enumerate(captions(name))]
    files = {"Flickr8k.token.txt": "\n".join(lines[::-1]) + "\n"}  # the order of the lines must not matter
    files |= {f"Flickr_8k.{name}.txt": "\n".join(rows) + "\n" for name, rows in splits.items()}
    return {name: text.encode() for name, text in files.items()}


@pytest.mark.parametrize("layout", ["zips", "folders", "zip and loose lists"])
def test_reads_the_official_archives_packed_or_not(tmp_path, layout):
    if layout == "folders":
        write_folder(tmp_path, images() | texts())
    else:
        write_zip(tmp_path / "Flickr8k_Dataset.zip", images())
        loose = {"Flickr_8k.testImages.txt"} if layout == "zip and loose lists" else set()
        write_zip(tmp_path / "Flickr8k_text.zip", {n: t for n, t in texts().items() if n not in loose})
        write_folder(tmp_path, {n: t for n, t in texts().items() if n in loose})
    config = data_config(tmp_path, dataset="flickr8k", manual_dir=str(tmp_path))
    for split, names in (("train", NAMES[:5]), ("dev", NAMES[5:7]), ("test", NAMES[7:10])):
        source = open_source(config, split)
        assert captions_of(source) == {name: captions(name) for name in names}
        assert images_of(source) == {name: photo(NAMES.index(name)) for name in names}
        skipped = dict(source.quarantine.rows)
        assert STRAY in skipped and ("111_gone.jpg" in skipped) == (split == "train")
        assert len(skipped) == 1 + (split == "train")


def test_a_split_whose_list_or_images_are_not_there_is_left_out(tmp_path):
    write_zip(tmp_path / "Flickr8k_text.zip", texts({"trainImages": NAMES[:5], "testImages": NAMES[7:10]}))
    write_zip(tmp_path / "Flickr8k_Dataset.zip", {f"Flicker8k_Dataset/{n}": photo(3) for n in NAMES[7:10]})
    config = data_config(tmp_path, dataset="flickr8k", manual_dir=str(tmp_path))
    source = open_source(config, "test")
    assert len(source) == 3 and "split `train`" in source.notes[0]
    for split in ("train", "dev"):
        with pytest.raises(DataError, match="there are: test.*devImages"):
            open_source(config, split)


def test_a_damaged_image_in_the_archive_costs_itself(tmp_path):
    write_zip(tmp_path / "Flickr8k_text.zip", texts())
    files = images() | {
        f"Flicker8k_Dataset/{NAMES[1]}": b"",
        f"Flicker8k_Dataset/{NAMES[2]}": b"<html>not found</html>",
    }
    write_zip(tmp_path / "Flickr8k_Dataset.zip", files)
    content = bytearray((tmp_path / "Flickr8k_Dataset.zip").read_bytes())
    content[content.find(photo(3)) + 200] ^= 1
    (tmp_path / "Flickr8k_Dataset.zip").write_bytes(content)
    source = open_source(data_config(tmp_path, dataset="flickr8k", manual_dir=str(tmp_path)), "train")
    assert sorted(source.image_ids) == [NAMES[0], NAMES[4]]
    reasons = dict(source.quarantine.rows)
    assert "empty" in reasons[NAMES[1]] and "not a JPEG" in reasons[NAMES[2]] and "CRC" in reasons[NAMES[3]]


def test_damaged_caption_lines_cost_themselves(tmp_path):
    files = texts()
    files["Flickr8k.token.txt"] += b"no tab here\n\xff\xfe#0\tbytes\nx.jpg#one\tno number\n"
    write_folder(tmp_path, images() | files)
    source = open_source(data_config(tmp_path, dataset="flickr8k", manual_dir=str(tmp_path)), "dev")
    assert len(source) == 2
    lines = [name for name, _ in source.quarantine.rows if name != STRAY]
    assert lines == [f"Flickr8k.token.txt:{number}" for number in (61, 62, 63)]


def test_a_replaced_archive_is_read_again(tmp_path):
    write_folder(tmp_path, images() | texts())
    config = data_config(tmp_path, dataset="flickr8k", manual_dir=str(tmp_path))
    before = open_source(config, "dev")
    (tmp_path / "Flicker8k_Dataset" / NAMES[5]).write_bytes(photo(99))
    after = open_source(config, "dev")
    assert images_of(after)[NAMES[5]] == photo(99) and after.fingerprint != before.fingerprint


def test_what_is_missing_is_named_with_its_key(tmp_path):
    config = data_config(tmp_path, dataset="flickr8k")
    with pytest.raises(DataError, match="set `data.manual_dir`.*Flickr8k_Dataset.zip and Flickr8k_text.zip"):
        open_source(config, "train")
    config = data_config(tmp_path, dataset="flickr8k", manual_dir=str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="`data.manual_dir`.*no such folder"):
        open_source(config, "train")
    config = data_config(tmp_path, dataset="flickr8k", manual_dir=str(tmp_path))
    with pytest.raises(DataError, match="`data.manual_dir`.*Flickr8k_Dataset.zip"):
        open_source(config, "train")
    write_zip(tmp_path / "Flickr8k_Dataset.zip", images())
    with pytest.raises(DataError, match="`data.manual_dir`.*Flickr8k_text.zip"):
        open_source(config, "train")
    (tmp_path / "Flickr8k_text.zip").write_bytes(b"half a download")
    with pytest.raises(DataError, match="Flickr8k_text.zip.*get the archive again"):
        open_source(config, "train")


def test_the_real_archives(tmp_path, shared_dir):
    manual_dir = str(shared_dir / "data" / "flickr8k")
    source = open_source(data_config(tmp_path, dataset="flickr8k", manual_dir=manual_dir), "train")
    assert len(source) == 6000 and {len(rows) for rows in source.captions} == {5}
    assert all(image.startswith(b"\xff\xd8") for image in source.read_images(range(0, 6000, 37)))
    assert len(open_source(data_config(tmp_path, dataset="flickr8k", manual_dir=manual_dir), "dev")) == 1000
