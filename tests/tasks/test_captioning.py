"""The captioning job, trained for real on the tiny config."""

import dataclasses
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from vl_keras.config import load_config
from vl_keras.data.pipeline import evaluation_batches
from vl_keras.data.text_ops import CaptionTokenizer
from vl_keras.encoders.text_encoder import load_text_encoder
from vl_keras.encoders.word_vectors import word_vectors
from vl_keras.errors import ConfigError, DataError, EncoderError, QuarantineError
from vl_keras.runs.load_run import load_run
from vl_keras.tasks import TASKS
from vl_keras.tasks.captioning import CaptioningTask
from vl_keras.training.train import train

TINY = Path(__file__).resolve().parents[2] / "configs" / "captioning" / "tiny.yaml"


@pytest.fixture(scope="module")
def tiny_config(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("data")
    return lambda *overrides: load_config(TINY, (f"data.data_dir={data_dir}", *overrides))


@pytest.fixture(scope="module")
def task(tiny_config):
    return CaptioningTask(tiny_config())


@pytest.fixture(scope="module")
def captioner(task):
    return task.build()


def test_tasks_by_name():
    assert TASKS["captioning"] is CaptioningTask


def test_every_image_gets_a_caption_whatever_the_batch(task, captioner):
    captions = task.caption_split(captioner, "dev")
    assert [caption.index for caption in captions] == list(range(20))
    few = task.caption_split(captioner, "dev", limit=7)
    assert [caption.caption for caption in few] == [caption.caption for caption in captions[:7]]
    assert few[0].references == task.source("dev").captions[0]
    assert few[0].captions[0] == few[0].caption and len(few[0].captions) == 1


@pytest.mark.parametrize("path", sorted(TINY.parent.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_settings_write_no_loops(path):
    """The tests of generation hold that no n-gram of this size appears twice."""
    assert load_config(path).generation.no_repeat_ngram == 3


def test_progress_counts_images(task, captioner):
    seen = []
    task.caption_split(captioner, "dev", limit=7, progress=seen.append)
    assert seen == [7]


def test_the_graph_is_built_once(task, captioner):
    writer = task.writer(captioner)
    task.caption_split(captioner, "dev")
    task.caption_split(captioner, "dev", limit=3)
    assert task.writer(captioner) is writer
    assert writer._write.experimental_get_tracing_count() == 1
    greedy = dataclasses.replace(task.config.generation, method="greedy")
    assert task.writer(captioner, greedy) is not writer


def test_a_compiled_search_writes_the_same(task, captioner):
    compiled = CaptioningTask(task.config, task.tokenizer, jit_compile=True)
    ours, theirs = compiled.caption_split(captioner, "dev"), task.caption_split(captioner, "dev")
    assert [caption.caption for caption in ours] == [caption.caption for caption in theirs]
    np.testing.assert_allclose([c.score for c in ours], [c.score for c in theirs], atol=1e-4)


def test_an_unreadable_image_is_left_out(tiny_config, break_image):
    task = CaptioningTask(tiny_config("generation.method=greedy", "data.max_bad_share=0.2"))
    break_image(task.source("dev"), 2)
    captions = task.caption_split(task.build(), "dev")
    assert [caption.index for caption in captions] == [index for index in range(20) if index != 2]


def test_too_many_unreadable_images_are_said_as_such(tiny_config, break_image):
    task = CaptioningTask(tiny_config("data.max_bad_share=0"))
    break_image(task.source("dev"), 2)
    with pytest.raises(QuarantineError, match="1 of 20 inputs .*data.max_bad_share"), task.quarantine_errors():
        list(evaluation_batches(task.config, task.source("dev")))


@pytest.mark.parametrize("bare", ["train", "dev"])
def test_a_split_without_captions_is_refused(tiny_config, bare):
    task = CaptioningTask(tiny_config())
    task._sources = {split: SimpleNamespace(captions=[[], ["a dog"]]) for split in ("train", "dev")}
    task.check_data()
    task._sources[bare] = SimpleNamespace(captions=[[], []])
    with pytest.raises(
        DataError,
        match=f"Split `{bare}` of shapes has no captions; the task captioning is trained and evaluated with them",
    ):
        task.check_data()


def test_weights_leave_frozen_encoders_out(tiny_config, task, captioner):
    assert set(task.weights(captioner)) == {"image_encoder", "reader", "decoder"}
    frozen = CaptioningTask(tiny_config("image_encoder.trainable_from="), task.tokenizer)
    assert set(frozen.weights(frozen.build())) == {"reader", "decoder"}


def test_a_caption_longer_than_the_model_is_refused(tiny_config):
    task = CaptioningTask(tiny_config("generation.max_length=17"))
    with pytest.raises(ConfigError, match="`generation.max_length` must be at most `text.max_length`.*17 and 16"):
        task.generation_settings()
    with pytest.raises(ConfigError, match="at most `text.max_length`"):
        task.build()  # before any training, not at the end of its first epoch


def test_a_given_vocabulary_is_used(tiny_config, tmp_path):
    CaptionTokenizer([*CaptionTokenizer.SPECIALS, "red", "circle"]).save(tmp_path / "vocabulary.txt")
    task = CaptioningTask(tiny_config(f"text.vocabulary={tmp_path / 'vocabulary.txt'}"))
    assert task.tokenizer.vocab_size == 6


def test_an_lstm_on_cached_features_in_half_precision(tiny_config, tmp_path):
    config = tiny_config(
        "model.decoder=lstm",
        "image_encoder.trainable_from=",
        "image_encoder.cache_features=true",
        "image_encoder.cache_views=2",
        "data.augment.crop_min_area=0.5",
        "training.precision=mixed_bfloat16",
        "training.epochs=1",
        "generation.method=greedy",
    )
    metrics = train(config, tmp_path / "run")
    assert metrics["best"]["signature"]["generation"].startswith("greedy")
    _, task, captioner, which = load_run(tmp_path / "run", overrides=[f"data.data_dir={tmp_path / 'elsewhere'}"])
    assert which.startswith("best: moving average of the weights at cross_entropy epoch 1")
    scores, _ = task.score_split(captioner, "dev")
    assert scores.metrics["BLEU-1"] == pytest.approx(metrics["best"]["measures"]["BLEU-1"], abs=1e-3)


@pytest.mark.slow  # trains a run for each, half a minute
@pytest.mark.parametrize("members", [1, 2])
def test_word_vectors_start_from_a_bert(tiny_config, hub_bert, tmp_path, members):
    shutil.copytree(Path(hub_bert[0].split("=")[1]).parent, tmp_path / "bert")
    config = tiny_config(
        f"text.word_vectors.encoder={tmp_path / 'bert' / 'encoder'}",
        f"text.word_vectors.preprocessor={tmp_path / 'bert' / 'preprocessor'}",
        "model.hidden_dim=16",
        f"model.members={members}",
        "training.epochs=1",
        "training.learning_rate=1e-12",
        "generation.method=greedy",
    )
    train(config, tmp_path / "run")
    shutil.rmtree(tmp_path / "bert")  # a trained run no longer needs it
    _, task, captioner, _ = load_run(tmp_path / "run")
    decoders = captioner.decoder.members if members > 1 else [captioner.decoder]
    tables = [decoder.model.get_layer("embedding").embeddings.numpy() for decoder in decoders]
    assert len(tables) == members
    place = {token: i for i, token in enumerate(task.tokenizer.vocab)}
    words = ["red", "green", "circle", "square"]
    reader = load_text_encoder(*(setting.split("=")[1] for setting in hub_bert[:2]), max_length=13)
    in_order = [token for token in task.tokenizer.vocab if token[0] not in "[#"]
    vectors, known = word_vectors(in_order, reader, 16)
    for word in words:
        assert known[in_order.index(word)]
        for table in tables:
            np.testing.assert_allclose(table[place[word], :12], vectors[in_order.index(word)], atol=1e-5)
    assert task.score_split(captioner, "dev", limit=2)[1]
    train(config, tmp_path / "run", resume=True)


def test_word_vectors_that_cannot_be(tiny_config, hub_bert, task_config):
    with pytest.raises(ConfigError, match="both its `encoder` and its `preprocessor`"):
        tiny_config("text.word_vectors.encoder=somewhere")
    with pytest.raises(
        ConfigError, match="`text.word_vectors.encoder` does nothing for the task matching .it is for captioning"
    ):
        task_config("matching", "text.word_vectors.encoder=a", "text.word_vectors.preprocessor=b")
    with pytest.raises(EncoderError, match="`text.word_vectors.encoder` is `nowhere`"):
        preprocessor = hub_bert[1].split("=")[1]
        task = CaptioningTask(
            tiny_config("text.word_vectors.encoder=nowhere", f"text.word_vectors.preprocessor={preprocessor}")
        )
        task.start_fresh(task.build(), print)


@pytest.mark.parametrize(
    "settings, context",
    [
        ([], ""),
        (["data.context=caption_words"], "caption words"),
        (["data.context=caption_words", "data.show_context=false"], "caption words shown empty"),
    ],
)
def test_the_signature_tells_what_the_model_was_shown(settings, context):
    config = load_config(TINY, ["data.image_size=[32,48]", *settings])
    signature = CaptioningTask(config).signature([], SimpleNamespace(tokenizer="ptb"), "dev", "best")
    assert (signature.image_size, signature.context) == ("32x48", context)
