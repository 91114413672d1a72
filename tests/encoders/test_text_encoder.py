import shutil

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from bert_reference import bert_forward, pack, wordpiece

from vl_keras.encoders.hub_text_layer import HubTextLayer
from vl_keras.encoders.hub_tokenizer import HubTokenizer
from vl_keras.encoders.text_encoder import load_text_encoder
from vl_keras.errors import EncoderError

TEXTS = ["a man in red", "", "dogs run, running tri-colored shirt", " \t\n", "dog"]


class CountingEncoder(tf.Module):
    """Stands for a BERT: counts its runs and the rows it reads; a token's state is its id at every place of width 5."""

    def __init__(self):
        super().__init__()
        self.runs, self.rows = tf.Variable(0, trainable=False), tf.Variable(0, trainable=False)

    def __call__(self, inputs):
        self.runs.assign_add(1)
        self.rows.assign_add(tf.shape(inputs["input_word_ids"])[0])
        states = tf.repeat(tf.cast(inputs["input_word_ids"], tf.float32)[:, :, None], 5, axis=2)
        return {"sequence_output": states, "pooled_output": tf.reduce_sum(states, axis=1)}


def test_tokens_and_vector_are_berts(small_bert, small_text_encoder):
    inputs = small_text_encoder.preprocess(tf.constant(TEXTS))
    outputs = small_text_encoder.model(inputs)
    assert outputs["text_tokens"].shape == (5, 9, 12)
    for row in (0, 2, 4):
        word_ids, mask = pack(wordpiece(TEXTS[row], small_bert.vocabulary), 9, small_bert.vocabulary)
        np.testing.assert_array_equal(inputs["input_word_ids"][row], word_ids)
        states, pooled = bert_forward(
            small_bert.tensors, small_bert.config, np.array([word_ids]), np.array([mask]), np.zeros((1, 9), int)
        )
        expected = states[-1][0] * np.array(mask)[:, None]
        np.testing.assert_allclose(outputs["text_tokens"][row], expected, atol=1e-5)
        np.testing.assert_allclose(outputs["text_vector"][row], pooled[0], atol=1e-5)


def test_text_without_a_token_is_an_empty_row_and_reads_zeros(small_text_encoder):
    inputs = small_text_encoder.preprocess(tf.constant(TEXTS))
    outputs = small_text_encoder.model(inputs)
    for row in (1, 3):
        for value in (*inputs.values(), *outputs.values()):
            assert not np.any(value[row])


def test_neighbours_do_not_matter(small_text_encoder):
    def read(texts):
        return small_text_encoder.model(small_text_encoder.preprocess(tf.constant(texts)))["text_tokens"].numpy()

    together = read(TEXTS)
    for row, text in enumerate(TEXTS):
        np.testing.assert_allclose(read([text])[0], together[row], atol=1e-5)
    np.testing.assert_allclose(read([TEXTS[4], "", TEXTS[0]])[[2, 0]], together[[0, 4]], atol=1e-5)


@pytest.mark.parametrize("graph", [False, True])
def test_empty_rows_cost_nothing(graph):
    encoder = CountingEncoder()
    layer = HubTextLayer(encoder)
    call = tf.function(layer) if graph else layer
    encoder.runs.assign(0), encoder.rows.assign(0)
    mask = tf.constant([[1, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0]])
    inputs = {"input_word_ids": mask * 7, "input_mask": mask, "input_type_ids": mask * 0}
    empty = {name: value * 0 for name, value in inputs.items()}
    tokens = call(empty)["text_tokens"]
    assert int(encoder.runs) == 0 and tokens.shape == (3, 4, 5) and not np.any(tokens)
    outputs = call(inputs)
    assert (int(encoder.runs), int(encoder.rows)) == (1, 2)
    np.testing.assert_array_equal(outputs["text_tokens"][:, :, 2], mask * 7)
    np.testing.assert_array_equal(outputs["text_vector"][:, 3], [21, 0, 7])
    no_rows = call({name: value[:0] for name, value in inputs.items()})
    assert no_rows["text_tokens"].shape == (0, 4, 5) and int(encoder.runs) == 1


def test_fixed_shapes_give_the_same_compiled(small_bert, small_text_encoder):
    layer = HubTextLayer(small_bert.encoder, fixed_shapes=True)
    inputs = small_text_encoder.preprocess(tf.constant(TEXTS))
    compiled = tf.function(layer, jit_compile=True)
    for batch in (inputs, {name: value * 0 for name, value in inputs.items()}):
        expected = small_text_encoder.model(batch)
        for name, value in compiled(batch).items():
            np.testing.assert_allclose(value, expected[name], atol=1e-5)


def test_preprocess_runs_in_tf_data_and_survives_broken_bytes(small_bert, small_text_encoder):
    data = tf.data.Dataset.from_tensor_slices([*TEXTS, b"dog \xff\xfe run"]).batch(4).map(small_text_encoder.preprocess)
    batches = list(data)
    eager = small_text_encoder.preprocess(tf.constant(TEXTS[:4]))
    for name, value in batches[0].items():
        np.testing.assert_array_equal(value, eager[name])
    v = small_bert.vocabulary
    row = batches[1]["input_word_ids"][1].numpy().tolist()
    assert row[:2] == [v["[CLS]"], v["dog"]] and v["run"] in row and v["[UNK]"] in row
    assert data.element_spec["input_mask"].shape.as_list() == [None, 9]


def test_trainable_reads_with_gradients_and_frozen_has_none(small_bert, small_text_encoder):
    assert small_text_encoder.model.trainable_weights == []
    encoder = load_text_encoder(small_bert.encoder, small_bert.preprocessor, trainable=True, max_length=9)
    inputs = encoder.preprocess(tf.constant(TEXTS))

    with tf.GradientTape() as tape:
        outputs = encoder.model(inputs, training=True)
        loss = tf.reduce_sum(outputs["text_tokens"] ** 2) + tf.reduce_sum(outputs["text_vector"])
    grown = tape.gradient(loss, encoder.model.trainable_variables)
    assert len(grown) == len(small_bert.tensors) and all(gradient is not None for gradient in grown)
    frozen = small_text_encoder.model
    once, twice = (frozen(inputs, training=True)["text_tokens"] for _ in range(2))
    np.testing.assert_array_equal(once, twice)  # no dropout in a frozen encoder


def test_a_saved_model_carries_vocabulary_and_weights_along(small_bert, tmp_path):
    for name in ("encoder", "preprocessor"):
        shutil.copytree(getattr(small_bert, name), tmp_path / name)
    encoder = load_text_encoder(str(tmp_path / "encoder"), str(tmp_path / "preprocessor"), max_length=7)
    served = tf.Module()
    served.text_encoder = encoder
    served.read = tf.function(
        lambda texts: encoder.model(encoder.preprocess(texts)), input_signature=[tf.TensorSpec((None,), tf.string)]
    )
    expected = served.read(tf.constant(TEXTS))
    tf.saved_model.save(served, str(tmp_path / "served"))
    for name in ("encoder", "preprocessor"):
        shutil.rmtree(tmp_path / name)
    loaded = tf.saved_model.load(str(tmp_path / "served"))
    for name, value in loaded.read(tf.constant(TEXTS)).items():
        np.testing.assert_allclose(value, expected[name], atol=1e-6)


def test_layer_round_trips_through_its_config_and_keeps_float32_under_bfloat16(small_bert, small_text_encoder):
    layer = HubTextLayer(small_bert.encoder, fixed_shapes=True, name="bert")
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        again = HubTextLayer.from_config(layer.get_config())
        inputs = small_text_encoder.preprocess(tf.constant(TEXTS))
        outputs = again(inputs)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert again.get_config() == layer.get_config()
    assert outputs["text_tokens"].dtype == tf.float32
    np.testing.assert_allclose(outputs["text_tokens"], layer(inputs)["text_tokens"], atol=1e-6)


def test_modules_that_cannot_be_loaded_name_key_and_handle(small_bert, tmp_path):
    with pytest.raises(EncoderError, match="`text_encoder.encoder` is .*absent.*vl-keras make-bert"):
        load_text_encoder(str(tmp_path / "absent"), small_bert.preprocessor)
    with pytest.raises(EncoderError, match="`text_encoder.preprocessor`: .*http://127.0.0.1:9/bert/1.*unpack it"):
        load_text_encoder(small_bert.encoder, "http://127.0.0.1:9/bert/1")
    with pytest.raises(EncoderError, match="has no tokenize and no bert_pack_inputs"):
        load_text_encoder(small_bert.encoder, small_bert.encoder)
    with pytest.raises(EncoderError, match="`text_encoder.encoder`: .* does not keep the contract"):
        load_text_encoder(small_bert.preprocessor, small_bert.preprocessor)


def test_its_tokenizer_may_be_made_inside_a_graph_and_packs_as_the_module_does(small_text_encoder, small_bert):
    words = [word for word in small_bert.vocabulary if word.isalpha()][:2]
    texts = tf.constant([" ".join(words), words[0], " ".join(words * 9)])

    @tf.function
    def encode(strings):
        return HubTokenizer(small_text_encoder).encode(strings, small_text_encoder.max_length)

    assert encode(texts).numpy().tolist() == small_text_encoder.preprocess(texts)["input_word_ids"].numpy().tolist()
