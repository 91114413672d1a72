import json
import os
import subprocess
import sys

import numpy as np
import pytest

from vl_keras.encoders.checkpoints.bert_preset import read_preset
from vl_keras.encoders.networks.bert_network import build_bert, set_weights
from vl_keras.errors import EncoderError

SIZES = {"vocabulary_size": 11, "num_layers": 2, "num_heads": 3, "hidden_dim": 12, "intermediate_dim": 20}
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog"]
INPUTS = {
    "input_word_ids": np.array([[2, 5, 6, 3, 0], [2, 6, 3, 0, 0]]),
    "input_mask": np.array([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]]),
    "input_type_ids": np.array([[0, 0, 1, 1, 0], [0, 0, 0, 0, 0]]),
}
KERAS_NLP_NAMES = {"input_word_ids": "token_ids", "input_mask": "padding_mask", "input_type_ids": "segment_ids"}
KERAS_3_PRESET = """
import sys, keras_nlp, numpy as np
model = keras_nlp.models.BertBackbone(**{sizes}, max_sequence_length=17, num_segments=4)
generator = np.random.default_rng(0)
model.set_weights([generator.normal(0, 0.4, value.shape) for value in model.get_weights()])
model.save_to_preset(sys.argv[1])
tokenizer = keras_nlp.models.BertTokenizer({tokens}, lowercase=True)
tokenizer.save_to_preset(sys.argv[1])
outputs = model({inputs})
np.savez(sys.argv[1] + "/outputs.npz", **outputs)
"""


@pytest.fixture
def preset(tmp_path):
    """A preset folder whose weights file is written by Keras 2, and the backbone it came from."""
    import keras_nlp

    backbone = keras_nlp.models.BertBackbone(**SIZES, max_sequence_length=17, num_segments=4)
    generator = np.random.default_rng(0)
    backbone.set_weights([generator.normal(0, 0.4, value.shape) for value in backbone.get_weights()])
    backbone.save_weights(str(tmp_path / "model.weights.h5"))
    config = {**SIZES, "max_sequence_length": 17, "num_segments": 4, "dropout": 0.1}
    (tmp_path / "config.json").write_text(json.dumps({"class_name": "BertBackbone", "config": config}))
    (tmp_path / "tokenizer.json").write_text(json.dumps({"class_name": "BertTokenizer", "config": {"lowercase": True}}))
    (tmp_path / "assets" / "tokenizer").mkdir(parents=True)
    (tmp_path / "assets" / "tokenizer" / "vocabulary.txt").write_text("\n".join(TOKENS) + "\n")
    return tmp_path, backbone


def compare(folder, expected):
    checkpoint = read_preset(folder)
    assert (checkpoint.vocabulary, checkpoint.lower_case) == (TOKENS, True)
    network = build_bert(checkpoint.settings)
    set_weights(network, checkpoint.weights)
    outputs = network(INPUTS)
    for name in ("sequence_output", "pooled_output"):
        np.testing.assert_allclose(outputs[name], expected[name], atol=1e-5)


def test_preset_gives_the_outputs_of_its_backbone(preset):
    folder, backbone = preset
    compare(folder, backbone({KERAS_NLP_NAMES[name]: value for name, value in INPUTS.items()}))


def test_faulty_presets_say_what_is_wanted(preset):
    folder, _ = preset
    config = json.loads((folder / "config.json").read_text())
    config["config"]["intermediate_dim"] = 21
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(EncoderError, match=r"feedforward_intermediate_dense/0 is \(12, 20\), expected \(12, 21\)"):
        read_preset(folder)
    (folder / "model.weights.h5").unlink()
    with pytest.raises(EncoderError, match="model.weights.h5. is no readable HDF5 file"):
        read_preset(folder)
    (folder / "config.json").write_text('{"class_name": "GemmaBackbone", "config": {}}')
    with pytest.raises(EncoderError, match="preset of GemmaBackbone; BertBackbone is wanted"):
        read_preset(folder)


@pytest.mark.slow
def test_preset_written_by_keras_3_gives_the_outputs_of_its_backbone(tmp_path):
    inputs = {KERAS_NLP_NAMES[name]: value.tolist() for name, value in INPUTS.items()}
    arrays = "{" + ", ".join(f"{name!r}: np.array({value})" for name, value in inputs.items()) + "}"
    code = KERAS_3_PRESET.format(sizes=SIZES, tokens=TOKENS, inputs=arrays)
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "0", "KERAS_BACKEND": "tensorflow"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, check=True, capture_output=True)
    compare(tmp_path, np.load(tmp_path / "outputs.npz"))
