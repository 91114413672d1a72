"""What the tests of the tasks share."""

import json

import numpy as np
import pytest
from PIL import Image

WORDS = "what shape is there a the red green blue yellow circle square star ring triangle of to left right ##s . , ?"


@pytest.fixture(scope="session")
def hub_bert(tmp_path_factory):
    """Overrides that read texts with a small frozen BERT of random weights, made from a config alone."""
    from vl_keras.encoders.bert_module import make_bert

    folder = tmp_path_factory.mktemp("hub_bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS.split()]
    config = {
        "model_type": "bert",
        "vocab_size": len(words),
        "hidden_size": 12,
        "num_hidden_layers": 1,
        "num_attention_heads": 3,
        "intermediate_size": 20,
        "max_position_embeddings": 17,
        "hidden_act": "gelu",
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    with pytest.warns(UserWarning):
        made = make_bert(folder, folder / "module")
    return (
        f"text_encoder.encoder={made['encoder']}",
        f"text_encoder.preprocessor={made['preprocessor']}",
        "text_encoder.max_length=13",
        "data.augment.word_swap=0",  # cached texts are as they were written
    )


@pytest.fixture
def write_manifest(tmp_path):
    """Function of the lines' dicts that writes a JSONL manifest with a picture each, brighter on its left.

    Returns the override that reads it.
    """

    def write(rows):
        lines = []
        for number, row in enumerate(rows):
            array = np.full((24, 32, 3), (20 + number % 100, 40, 90), np.uint8)
            array[:, :16] += 100
            Image.fromarray(array).save(tmp_path / f"{number}.png")
            lines.append(json.dumps({"image": f"{number}.png", **row}))
        (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
        return f"data.manifest={tmp_path / 'rows.jsonl'}"

    return write


@pytest.fixture
def break_picture():
    """Function that makes one picture of a `Source` unreadable."""

    def broken(source, index):
        read = source.read_images

        def read_images(indices):
            images = read(indices)
            images[np.asarray(indices) == index] = b"no picture"
            return images

        source.read_images = read_images

    return broken
