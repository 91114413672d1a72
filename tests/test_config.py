"""The settings know the names that the code knows."""

from dataclasses import fields

import pytest

from vl_keras.config import ModelConfig, RetrievalConfig, config_from_dict, load_config, rules, save_config
from vl_keras.errors import ConfigError


def test_names_are_those_of_the_code():
    from vl_keras.layers.fusion import FUSIONS
    from vl_keras.losses.contrastive_losses import CONTRASTIVE_LOSSES
    from vl_keras.tasks import TASKS

    assert rules.TASK_NAMES == tuple(TASKS)
    assert _choices(ModelConfig, "fusion") == tuple(FUSIONS)
    assert _choices(RetrievalConfig, "loss") == tuple(CONTRASTIVE_LOSSES)


def _choices(section, name):
    return next(field.metadata["rule"].choices for field in fields(section) if field.name == name)


@pytest.mark.parametrize(
    "key, near", [("task", "vqa"), ("model.fusion", "cross_modal"), ("retrieval.loss", "info_nce")]
)
def test_an_unknown_name_is_refused_with_those_that_there_are(key, near):
    with pytest.raises(ConfigError, match=f"`{key}` must be one of .*{near}.*; got 'other'"):
        config_from_dict({}, [f"{key}=other"])


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan", "inf", "1e400"])
def test_numbers_are_finite(value):
    with pytest.raises(ConfigError, match="`training.learning_rate` must be a finite number; got -?(inf|nan)"):
        config_from_dict({}, [f"training.learning_rate={value}"])


@pytest.mark.parametrize(
    "setting",
    [
        "model.dropout=1.0",
        "model.word_dropout=-0.1",
        "training.ema_decay=1.0",
        "retrieval.margin=-0.2",
        "training.evaluate_examples=-1",
        "training.seed=-1",
        "training.self_critical.epochs=-1",
        "training.self_critical.samples=1",
        "training.self_critical.learning_rate=0.0",
        "generation.top_p=0.0",
        "generation.temperature=0.0",
    ],
)
def test_a_number_out_of_range_is_refused_with_the_rule_and_the_value(setting):
    key, value = setting.split("=")
    with pytest.raises(ConfigError, match=rf"`{key}` must be .+; got {value}"):
        config_from_dict({}, [setting])


def test_a_section_with_nothing_in_it_can_be_set():
    assert config_from_dict({"data": {"shapes": None}}, ["data.shapes.seed=3"]).data.shapes.seed == 3
    assert config_from_dict({"data": None}, ["data.batch_size=3"]).data.batch_size == 3
    with pytest.raises(ConfigError, match="`data.seed.low` cannot be set: `seed` is a value, not a section"):
        config_from_dict({"data": {"seed": 0}}, ["data.seed.low=3"])


@pytest.mark.parametrize(
    "content, told",
    [
        (b"training: {epochs: 3}\ndata: {batch_size: 4}\ntraining: {seed: 1}\n", "(?s)`training` stands twice.*line 3"),
        (b"data:\n  batch_size: 4\n  batch_size: 5\n", "(?s)`batch_size` stands twice.*line 3"),
        (b"? [data]\n: {batch_size: 4}\n", "(?s)no YAML.*unhashable key"),
        ("# Größe\ntask: captioning\n".encode("latin-1"), "no YAML in UTF-8"),
        (b"training: [", "no YAML"),
    ],
)
def test_a_file_that_would_be_read_in_part_is_refused(tmp_path, content, told):
    (tmp_path / "own.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=f"own.yaml` is {told}" if told.startswith("no") else told):
        load_config(tmp_path / "own.yaml")


def test_words_that_old_yaml_takes_for_booleans(tmp_path):
    """on and off are choices of `training.jit_compile`; where a boolean is wanted they are one."""
    (tmp_path / "config.yaml").write_text("training: {jit_compile: off}\ndata: {augment: {flip: on}}\n")
    config = load_config(tmp_path / "config.yaml")
    assert config.training.jit_compile == "off" and config.data.augment.flip is True
    config = load_config(tmp_path / "config.yaml", ["training.jit_compile=on", "data.augment.flip=no"])
    assert config.training.jit_compile == "on" and config.data.augment.flip is False
    assert config_from_dict({}, ["data.augment.flip=true"]).data.augment.flip is True
    with pytest.raises(ConfigError, match="`data.augment.flip` must be of type bool; got 'maybe'"):
        config_from_dict({}, ["data.augment.flip=maybe"])
    save_config(config, tmp_path / "saved.yaml")
    assert load_config(tmp_path / "saved.yaml") == config
