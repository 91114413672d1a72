"""A file of labelled image-text pairs: good lines are read, bad ones cost themselves, no image is in two splits."""

import pytest
from miniature import captions_of, data_config, images_of, photo

from vl_keras.data.builders.image_text_pairs import PairsBuilder
from vl_keras.data.source import open_source
from vl_keras.errors import DataError


def write(folder, lines, images=(), name="pairs.tsv"):
    """A file of these lines and images of these names."""
    folder.mkdir(parents=True, exist_ok=True)
    content = b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines) + b"\n"
    (folder / name).write_bytes(content)
    for number, image in enumerate(images):
        path = folder / image
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo(number))
    return data_config(folder, manifest=str(folder / name))


def pairs_of(source):
    return {
        name: [(row["question"], row["answer"], row["kind"]) for row in rows]
        for name, rows in zip(source.image_ids, source.questions, strict=True)
    }


@pytest.mark.parametrize("name", ["pairs.tsv", "PAIRS.TSV"])
def test_lines_become_labelled_texts_and_matching_ones_captions(tmp_path, name):
    lines = [
        "a/1.jpg\ta dog runs\tmatch",
        "a/1.jpg\ttwo cats\tno-match\ttrain",
        "./a/1.jpg\t ein Hund läuft \tMatch\r",
        "2.jpg\t一只狗在跑\tno-match\tval",
        "",
        "3.jpg\tsnow\tmatch\ttest",
        "4.jpg\tan empty split is train\tno-match\t",
    ]
    config = write(
        tmp_path, [b"\xef\xbb\xbf" + lines[0].encode(), *lines[1:]], ["a/1.jpg", "2.jpg", "3.jpg", "4.jpg"], name
    )
    train, dev, test = (open_source(config, split) for split in ("train", "dev", "test"))
    assert captions_of(train) == {"a/1.jpg": ["a dog runs", "ein Hund läuft"], "4.jpg": []}
    assert pairs_of(train) == {
        "a/1.jpg": [
            ("a dog runs", "match", "pair"),
            ("two cats", "no-match", "pair"),
            ("ein Hund läuft", "match", "pair"),
        ],
        "4.jpg": [("an empty split is train", "no-match", "pair")],
    }
    assert pairs_of(dev) == {"2.jpg": [("一只狗在跑", "no-match", "pair")]} and captions_of(dev) == {"2.jpg": []}
    assert pairs_of(test) == {"3.jpg": [("snow", "match", "pair")]}
    assert images_of(train) == {"a/1.jpg": photo(0), "4.jpg": photo(3)}
    assert not (train.quarantine.rows or dev.quarantine.rows or train.notes)


BAD = {
    b"1.jpg\tonly a text": "has 2 column(s)",
    b"1.jpg a dog match": "IMAGE<tab>TEXT<tab>match|no-match",
    b"1.jpg\ta\tmatch\ttrain\tmore": "has 5 column(s)",
    b"\ta dog\tmatch": "the image is empty",
    b"1.jpg\t \tmatch": "the text is empty",
    b"1.jpg\ta dog\t1": "must be match or no-match; it is '1'",
    b"1.jpg\ta dog\tmatch\tholdout": "`split` must be train, dev or test; it is 'holdout'",
    b"1.jpg\t\xff\xfe\tmatch": "not UTF-8",
    b"2.jpg\ta dog\tmatch\ttrain": "in split dev already (line 1)",
}


def test_a_bad_line_costs_itself_and_is_listed_with_its_number_and_reason(tmp_path):
    lines = ["2.jpg\tx\tmatch\tdev", *BAD, "1.jpg\tgood\tmatch", "gone.jpg\tno file\tmatch"]
    train = open_source(write(tmp_path, lines, ["1.jpg", "2.jpg"]), "train")
    assert pairs_of(train) == {"1.jpg": [("good", "match", "pair")]}
    reasons = dict(train.quarantine.rows)
    for number, reason in enumerate(BAD.values(), 2):
        assert reason in reasons.pop(f"pairs.tsv:{number}")
    assert list(reasons) == ["gone.jpg"] and "line 12: there is no such file" in reasons["gone.jpg"]


def test_a_dev_split_is_taken_from_the_training_images_and_stays(tmp_path):
    names = [f"{n}.jpg" for n in range(60)]
    lines = [f"{name}\ttext {kind}\t{kind}" for kind in ("match", "no-match") for name in names]
    many = open_source(write(tmp_path / "many", lines, names), "dev")
    kept = [line for line in lines if int(line.split(".")[0]) >= 20]
    few = open_source(write(tmp_path / "few", kept, names[20:]), "dev")
    assert set(few.image_ids) == {name for name in many.image_ids if int(name[:-4]) >= 20}
    assert all(len(rows) == 2 for rows in many.questions)
    assert f"{len(many)} of its 60 training images" in many.notes[0] and "fourth column" in many.notes[0]


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(DataError, match="no split `dev` in the manifest.*fourth column"):
        open_source(write(tmp_path / "one", ["1.jpg\ta\tmatch"], ["1.jpg"]), "dev")
    with pytest.raises(DataError, match="(?s)pairs.tsv` .`data.manifest`. has no usable line.*pairs.tsv:1"):
        open_source(write(tmp_path / "none", ["image\ttext\tlabel"]), "train")


@pytest.mark.parametrize(
    "line, words",
    [
        ("image\ttext\tlabel", "a line of headings is not read, delete it"),
        ('"1.jpg"\t"a dog"\t"match"', "quotes around a column are not removed"),
    ],
)
def test_headings_and_quotes_are_recognised(line, words):
    with pytest.raises(ValueError, match=words):
        PairsBuilder.parse_line(line)
