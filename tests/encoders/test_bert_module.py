import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_hub as hub
import tf_keras as keras
from bert_files import CONFIG, WORDS, write_checkpoint
from bert_reference import bert_forward, pack, random_checkpoint, read_safetensors, wordpiece

from vl_keras.encoders import bert_module
from vl_keras.encoders.bert_module import make_bert
from vl_keras.encoders.checkpoints.bert_checkpoint import read_checkpoint
from vl_keras.errors import EncoderError

SENTENCES = ["A man, in a red shirt.", "dogs", "Café-colored dog's run running tri-colored zebra"]


def as_batch(vocabulary, sentences, length):
    """Word ids, mask and type ids of sentences, by the reference tokenizer."""
    rows = [pack(wordpiece(text, vocabulary), length, vocabulary) for text in sentences]
    word_ids, mask = (np.array(column, np.int32) for column in zip(*rows, strict=True))
    return {"input_word_ids": word_ids, "input_mask": mask, "input_type_ids": np.zeros_like(mask)}


def test_encoder_computes_bert_as_written_in_numpy(small_bert):
    inputs = as_batch(small_bert.vocabulary, SENTENCES, 11)
    inputs["input_type_ids"][2, 4:] = 3
    outputs = hub.KerasLayer(small_bert.encoder)(inputs)
    states, pooled = bert_forward(
        small_bert.tensors, CONFIG, inputs["input_word_ids"], inputs["input_mask"], inputs["input_type_ids"]
    )
    real = inputs["input_mask"] > 0
    assert len(outputs["encoder_outputs"]) == len(states) == 2
    for got, expected in zip(outputs["encoder_outputs"], states, strict=True):
        np.testing.assert_allclose(got.numpy()[real], expected[real], atol=1e-5)
    np.testing.assert_allclose(outputs["sequence_output"].numpy()[real], states[-1][real], atol=1e-5)
    np.testing.assert_allclose(outputs["pooled_output"], pooled, atol=1e-5)
    np.testing.assert_array_equal(outputs["default"], outputs["pooled_output"])


def test_preprocessor_tokenizes_and_packs_as_wordpiece_does(small_bert):
    preprocessor = hub.load(small_bert.preprocessor)
    tokens = preprocessor.tokenize(tf.constant(SENTENCES))
    assert tokens.merge_dims(1, 2).to_list() == [wordpiece(text, small_bert.vocabulary) for text in SENTENCES]
    for length in (6, 13):  # cut, and padded
        packed = hub.KerasLayer(preprocessor.bert_pack_inputs, arguments={"seq_length": length})([tokens])
        for name, expected in as_batch(small_bert.vocabulary, SENTENCES, length).items():
            np.testing.assert_array_equal(packed[name], expected)
            assert packed[name].dtype == tf.int32
    assert preprocessor(tf.constant(SENTENCES))["input_mask"].shape == (3, 128)


def test_two_segments_are_packed_with_their_types(small_bert):
    preprocessor = hub.load(small_bert.preprocessor)
    first, second = preprocessor.tokenize(tf.constant(["a man"])), preprocessor.tokenize(tf.constant(["dogs run"]))
    packed = preprocessor.bert_pack_inputs([first, second], seq_length=10)
    v = small_bert.vocabulary
    assert packed["input_word_ids"].numpy().tolist() == [
        [v["[CLS]"], v["a"], v["man"], v["[SEP]"], v["dog"], v["##s"], v["run"], v["[SEP]"], 0, 0]
    ]
    assert packed["input_type_ids"].numpy().tolist() == [[0, 0, 0, 0, 1, 1, 1, 1, 0, 0]]
    special = preprocessor.tokenize.get_special_tokens_dict()
    assert (int(special["start_of_sequence_id"]), int(special["vocab_size"])) == (v["[CLS]"], len(v))


def test_hub_layer_fine_tunes_all_weights_with_dropout(small_bert):
    layer = hub.KerasLayer(small_bert.encoder, trainable=True)
    inputs = {name: tf.constant(value) for name, value in as_batch(small_bert.vocabulary, SENTENCES, 11).items()}
    assert len(layer.trainable_weights) == len(small_bert.tensors)
    once, twice = (layer(inputs, training=True)["sequence_output"] for _ in range(2))
    assert np.abs(once - twice).max() > 0.1
    keras_inputs = {name: keras.Input((None,), dtype=tf.int32, name=name) for name in inputs}
    model = keras.Model(keras_inputs, layer(keras_inputs)["pooled_output"])
    model.compile(keras.optimizers.Adam(0.01), "mse")
    before = layer.get_weights()
    model.fit(inputs, np.zeros((3, 12)), verbose=0)
    after = layer.get_weights()
    moved = [w.name for w, old, new in zip(layer.weights, before, after, strict=True) if np.any(old != new)]
    # The key's offset moves every score of a row alike, so the softmax gives it no gradient but rounding.
    still = {weight.name for weight in layer.weights} - set(moved)
    assert all("key/bias" in name for name in still)


def test_the_module_stands_alone_and_keeps_its_vocabulary(small_bert, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(small_bert.preprocessor, moved)
    assets = list((moved / "assets").iterdir())
    assert [path.read_text().split() for path in assets] == [["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]]
    assert hub.load(str(moved)).tokenize(tf.constant(["red dog"])).to_list() == [[[8], [10]]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_names_with_prefix_and_heads_and_half_precision_are_read(tmp_path, dtype):
    tensors = random_checkpoint(CONFIG, seed=4, dtype=dtype)
    named = {f"bert.{name}": value for name, value in tensors.items()}
    named = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): value for name, value in named.items()}
    named["cls.predictions.bias"] = np.zeros(7, dtype)
    named["bert.embeddings.position_ids"] = np.arange(17)[None]
    write_checkpoint(tmp_path / "prefixed", tensors=named)
    write_checkpoint(tmp_path / "plain", tensors=tensors)
    with_prefix, plain = (read_checkpoint(tmp_path / name).weights for name in ("prefixed", "plain"))
    for layer, arrays in plain.items():
        for got, expected in zip(with_prefix[layer], arrays, strict=True):
            np.testing.assert_array_equal(got, expected)
            assert got.dtype == np.float32


def test_faulty_tensors_are_all_named(tmp_path):
    tensors = random_checkpoint(CONFIG, seed=4)
    del tensors["encoder.layer.1.output.dense.bias"]
    tensors["pooler.dense.weight"] = np.zeros((12, 13), np.float32)
    tensors["encoder.layer.2.output.dense.bias"] = np.zeros(12, np.float32)
    write_checkpoint(tmp_path / "source", tensors=tensors)
    with pytest.raises(EncoderError) as caught:
        make_bert(tmp_path / "source", tmp_path / "out")
    message = str(caught.value)
    assert "missing tensors: encoder.layer.1.output.dense.bias (12,)" in message
    assert "pooler.dense.weight is (12, 13), expected (12, 12)" in message
    assert "unexpected tensors: encoder.layer.2.output.dense.bias" in message
    assert not (tmp_path / "out").exists()


def test_faulty_folders_say_what_is_wanted(tmp_path):
    def refused(change, match):
        folder = tmp_path / "source"
        shutil.rmtree(folder, ignore_errors=True)
        write_checkpoint(folder)
        change(folder)
        with pytest.raises(EncoderError, match=match):
            make_bert(folder, tmp_path / "out")

    def config(**values):
        return lambda folder: (folder / "config.json").write_text(json.dumps({**CONFIG, **values}))

    refused(lambda folder: (folder / "config.json").unlink(), "There is no .*config.json")
    refused(lambda folder: (folder / "config.json").write_text("{"), "config.json. is no JSON")
    refused(lambda folder: (folder / "config.json").write_text("{}"), "lacks vocab_size, hidden_size")
    refused(lambda folder: (folder / "vocab.txt").unlink(), "There is no vocabulary .*vocab.txt")
    refused(lambda folder: (folder / "vocab.txt").write_bytes(b"[PAD]\n\xe4\n"), "vocab.txt` is not UTF-8")
    refused(lambda folder: (folder / "vocab.txt").write_text("[PAD]\na\n"), r"lacks \[UNK\], \[CLS\], \[SEP\]")
    refused(lambda folder: (folder / "model.safetensors").write_bytes(b"12"), "no readable safetensors file")
    refused(lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"), "pytorch_model.bin")
    refused(config(vocab_size=21), "22 tokens, but the config's vocabulary size is 21")
    refused(config(num_attention_heads=5), "width must be divisible by the number of heads; got 12 and 5")
    refused(config(hidden_act="swish"), "hidden_act must be one of gelu, .*; got 'swish'")
    refused(config(model_type="roberta"), "model_type must be bert; got 'roberta'")
    with pytest.raises(EncoderError, match="There is no folder"):
        make_bert(tmp_path / "absent", tmp_path / "out")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "notes.txt").write_text("mine")
    with pytest.raises(EncoderError, match="used. already exists"):
        make_bert(tmp_path / "source", tmp_path / "used")


def test_casing_follows_the_tokenizer_config_or_the_vocabulary(tmp_path):
    write_checkpoint(tmp_path)
    assert read_checkpoint(tmp_path).lower_case
    assert not read_checkpoint(tmp_path, lower_case=False).lower_case
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": true, "strip_accents": false}')
    checkpoint = read_checkpoint(tmp_path)
    assert (checkpoint.lower_case, checkpoint.strip_accents) == (True, False)
    (tmp_path / "tokenizer_config.json").unlink()
    write_checkpoint(tmp_path, words=["Dog", *WORDS[1:]])
    assert not read_checkpoint(tmp_path).lower_case


def test_a_config_alone_gives_random_weights_that_follow_the_seed(tmp_path, monkeypatch):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "config.json").write_text(json.dumps({**CONFIG, "vocab_size": 90}))
    networks = []

    def keep(network):
        networks.append(network)
        raise KeyboardInterrupt  # what is written is another test's matter

    monkeypatch.setattr(bert_module, "encoder_module", keep)
    for seed in (1, 1, 2):
        with pytest.raises(KeyboardInterrupt), pytest.warns(UserWarning, match="random"):
            make_bert(tmp_path / "source", tmp_path / "out", seed=seed)
    first, same, other = (network.get_layer("token_embedding").get_weights()[0] for network in networks)
    np.testing.assert_array_equal(first, same)
    assert np.abs(first - other).max() > 0.01
    assert [path.name for path in tmp_path.iterdir()] == ["source"]  # and nothing half written


@pytest.mark.slow
def test_a_config_alone_becomes_modules_that_load(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "config.json").write_text(json.dumps({**CONFIG, "vocab_size": 90}))
    (tmp_path / ".out.partial" / "encoder").mkdir(parents=True)  # left by a killed run
    with pytest.warns(UserWarning, match="random"):
        made = make_bert(tmp_path / "source", tmp_path / "out")
    packed = hub.load(made["preprocessor"])(tf.constant(["any text at all", ""]))
    packed = {name: value[:, :17] for name, value in packed.items()}
    assert packed["input_mask"].numpy().sum(1).tolist() == [14, 2]
    assert hub.KerasLayer(made["encoder"])(packed)["sequence_output"].shape == (2, 17, 12)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]


@pytest.mark.slow
def test_minilm_matches_the_numpy_reference(shared_dir, tmp_path):
    source = shared_dir / "weights" / "all-MiniLM-L6-v2"
    made = make_bert(source, tmp_path / "module")
    tokens = (source / "vocab.txt").read_text(encoding="utf-8").splitlines()
    vocabulary = {token: index for index, token in enumerate(tokens)}
    sentences = [
        "A man in a red shirt is standing in the grass .",
        "Dogs!",
        "Two tri-colored dogs aren't running; a naïve café-owner's photograph of São Paulo, 1998 (framed).",
        "一只狗 in the snow",
        "snowboarding",
    ]
    preprocessor = hub.load(made["preprocessor"])
    ids = preprocessor.tokenize(tf.constant(sentences)).merge_dims(1, 2)
    assert ids.to_list() == [wordpiece(text, vocabulary) for text in sentences]
    packed = preprocessor.bert_pack_inputs([ids], seq_length=36)
    arrays = {name: value.numpy() for name, value in packed.items()}
    assert len(set(arrays["input_mask"].sum(1))) > 3 and (arrays["input_mask"].sum(1) < 36).all()
    outputs = hub.KerasLayer(made["encoder"])(packed)
    config = json.loads((source / "config.json").read_text())
    states, pooled = bert_forward(
        read_safetensors(source / "model.safetensors"),
        config,
        arrays["input_word_ids"],
        arrays["input_mask"],
        arrays["input_type_ids"],
    )
    real = arrays["input_mask"] > 0
    differences = [
        float(np.abs(got.numpy()[real] - expected[real]).max())
        for got, expected in zip(outputs["encoder_outputs"], states, strict=True)
    ]
    print("largest difference of each layer:", differences)
    assert max(differences) < 1e-4
    assert np.abs(outputs["pooled_output"] - pooled).max() < 1e-4
