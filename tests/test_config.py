"""Settings: what there is, what is refused and how, and where configs are found."""

import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
import yaml

from vl_keras.config import Config, as_override, config_from_dict, config_to_dict, load_config, save_config, values_of
from vl_keras.config.experiments import find_config, shipped_experiments
from vl_keras.config.keys import all_settings
from vl_keras.config.setting import at_least, one_of, setting
from vl_keras.config.settings_page import as_markdown, as_text, sections
from vl_keras.errors import ConfigError
from vl_keras.tasks import TASKS
from vl_keras.tasks.task import Task

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class SingingSettings:
    """Songs about images."""

    notes: int = setting(8, "Notes of a song.", at_least(1))
    key: str = setting("c", "Key of the song.", one_of("c", "d"))


class Singing(Task):
    sections = {"singing": SingingSettings}
    unused_settings = ("model.fusion", "generation.")


@pytest.fixture
def singing(monkeypatch):
    """A task that only these tests know."""
    monkeypatch.setitem(TASKS, "singing", Singing)


def test_names_are_those_of_the_code():
    from vl_keras.layers.fusion import FUSIONS
    from vl_keras.losses.contrastive_losses import CONTRASTIVE_LOSSES

    known = {key: one for task in TASKS.values() for key, one in all_settings(task).items()}
    assert known["model.fusion"].rule.choices == tuple(FUSIONS)
    assert known["retrieval.loss"].rule.choices == tuple(CONTRASTIVE_LOSSES)


@pytest.mark.parametrize("task", TASKS)
def test_every_setting_has_a_meaning_and_a_default_that_keeps_its_rule(task):
    for one in all_settings(TASKS[task]).values():
        assert one.help.endswith("."), one.key
        assert one.rule is None or one.rule.holds(one.default), one.key
    assert not set(TASKS[task].sections) & {field.name for field in fields(Config)} - {"base"}


@pytest.mark.parametrize("task", TASKS)
def test_what_a_task_declares_of_settings_is_there(task):
    known = all_settings(TASKS[task])
    for name in TASKS[task].unused_settings:
        assert any(key == name or (name.endswith(".") and key.startswith(name)) for key in known), name
    for prefix in TASKS[task].run_settings:
        assert any(key.startswith(prefix) for key in known), prefix


@pytest.mark.parametrize(
    "overrides, words",
    [
        (["task=other"], "`task` must be one of captioning, .*singing; got 'other'"),
        (["task=[1]"], r"`task` must be one of .*; got '\[1\]'"),
        (["task=vqa", "model.fusion=other"], "`model.fusion` must be one of .*cross_modal.*; got 'other'"),
        (["task=retrieval", "retrieval.loss=other"], "`retrieval.loss` must be one of info_nce, .*; got 'other'"),
        (["task=singing", "singing.key=e"], "`singing.key` must be one of c, d; got 'e'"),
    ],
)
def test_an_unknown_name_is_refused_with_those_that_there_are(overrides, words, singing):
    with pytest.raises(ConfigError, match=words):
        config_from_dict({}, overrides)


def test_a_task_brings_its_own_section(singing, tmp_path):
    config = config_from_dict({"task": "singing", "singing": {"notes": 3}}, ["singing.key=d"])
    assert config.sections == {"singing": SingingSettings(3, "d")}
    assert config_from_dict({"task": "singing"}).sections["singing"].notes == 8
    assert config_from_dict({}).sections == {}
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config == config_from_dict(config_to_dict(config))
    saved = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert saved["singing"] == {"notes": 3, "key": "d"}
    assert "generation" not in saved and "vqa" not in saved and "fusion" not in saved["model"]


@pytest.mark.parametrize(
    "values, words",
    [
        ({"singing": {"notes": 0}}, "`singing.notes` must be at least 1; got 0"),
        ({"singing": {"notes": "many"}}, "`singing.notes` must be of type int; got 'many'"),
        ({"singing": {"note": 3}}, "Unknown key `singing.note`; did you mean `singing.notes`"),
        ({"singing": 3}, "`singing` is a section of keys; got 3"),
        ({"singin": {}}, "Unknown key `singin`; did you mean `singing`"),
        ({"vqa": {"num_answers": 7}}, "`vqa.num_answers` does nothing for the task singing .it is for vqa"),
        ({"model": {"fusion": "gated"}}, "`model.fusion` does nothing for the task singing .* is `model."),
        ({"generation": {"beam_size": 5}}, "`generation.beam_size` does nothing for the task singing"),
    ],
)
def test_what_a_task_does_not_use_is_refused(values, words, singing):
    with pytest.raises(ConfigError, match=words):
        config_from_dict({"task": "singing", **values})


def test_a_setting_that_does_nothing_may_stand_with_its_default(singing):
    """So that a config that was saved whole, with the sections of all tasks, can still be read."""
    plain = {"vqa": {"num_answers": 3000}, "model": {"fusion": "co_attention"}, "generation": {"beam_size": 3}}
    assert config_from_dict({"task": "singing", **plain}) == config_from_dict({"task": "singing"})


def test_the_config_of_a_run_may_hold_what_its_task_does_not_use(singing, tmp_path):
    old = {"task": "singing", "singing": {"notes": 3}, "vqa": {"num_answers": 7}, "matching": {"gone": 1}}
    old |= {"model": {"fusion": "gated", "hidden_dim": 64}, "generation": {"beam_size": 5}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(old))
    config = load_config(tmp_path / "config.yaml", ["singing.key=d"], of_run=True)
    assert config == config_from_dict(
        {"task": "singing", "singing": {"notes": 3, "key": "d"}, "model": {"hidden_dim": 64}}
    )
    with pytest.raises(ConfigError, match="config.yaml: Unknown key `matching.gone`"):
        load_config(tmp_path / "config.yaml")
    with pytest.raises(ConfigError, match="`generation.beam_size` does nothing"):  # today's command is not excused
        load_config(tmp_path / "config.yaml", ["generation.beam_size=4"], of_run=True)


def test_a_task_may_check_its_settings_together(singing, monkeypatch):
    def check(config):
        if config.sections["singing"].notes > config.text.max_length:
            raise ConfigError("too long")

    monkeypatch.setattr(Singing, "check_settings", check, raising=False)
    assert config_from_dict({"task": "singing"}).task == "singing"
    with pytest.raises(ConfigError, match="too long"):
        config_from_dict({"task": "singing"}, ["text.max_length=7"])


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda path: f"{path.parts[-2:]}")
def test_shipped_experiments_can_be_loaded_saved_and_listed(path, tmp_path):
    config = load_config(path)
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config
    assert config.task == path.parent.name
    summary = shipped_experiments()[f"{path.parent.name}/{path.stem}"]
    assert 20 < len(summary) and len(f"{path.parent.name}/{path.stem}") + len(summary) < 100


def test_experiments_are_found_by_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = ROOT / "configs" / "captioning" / "shapes.yaml"
    for name in ("captioning/shapes", "captioning/shapes.yaml", "configs/captioning/shapes.yaml"):
        assert find_config(name).samefile(shipped)
    (tmp_path / "captioning" / "shapes").mkdir(parents=True)
    assert find_config("captioning/shapes").samefile(shipped)
    (tmp_path / "captioning" / "shapes.yaml").write_text("task: captioning\n")
    assert find_config("captioning/shapes.yaml") == Path("captioning/shapes.yaml")  # an existing file wins
    with pytest.raises(ConfigError, match="no config file `captioning/shape`.*did you mean `captioning/shapes`"):
        find_config("captioning/shape")


def test_a_base_is_read_first(tmp_path, monkeypatch):
    (tmp_path / "base.yaml").write_text("data: {batch_size: 4, augment: {flip: true}, length_buckets: [8, 12]}\n")
    (tmp_path / "own.yaml").write_text(
        "base: base.yaml\ndata: {augment: {rotation: 5}, length_buckets: [16]}\nmodel:\n"
    )
    monkeypatch.chdir("/")
    config = load_config(tmp_path / "own.yaml", ["data.batch_size=6"])
    assert (config.data.batch_size, config.data.augment.flip, config.data.augment.rotation) == (6, True, 5.0)
    assert config.data.length_buckets == (16,)
    save_config(config, tmp_path / "whole.yaml")
    assert load_config(tmp_path / "whole.yaml") == config and "base" not in (tmp_path / "whole.yaml").read_text()


@pytest.mark.parametrize(
    "base, own, words",
    [
        (None, "base: base.yaml", "own.yaml: `base` names `base.yaml`, but there is no file"),
        ("", "base: [base.yaml]", r"own.yaml: `base` must name a YAML file; got \['base.yaml'\]"),
        ("base: other.yaml", "base: base.yaml", "base.yaml` has a `base` too; one level"),
        ("data: {batch_size: 0}", "base: base.yaml", "base.yaml: `data.batch_size` must be at least 1; got 0"),
        ("data: {batch_size: 4}", "base: base.yaml\ndata: {batch_size: 0}", "own.yaml: `data.batch_size` must"),
        ("dato: {}", "base: base.yaml", "base.yaml: Unknown key `dato`"),
        ("data: 3", "base: base.yaml\nmodel: {dropout: 0}", "base.yaml: `data` is a section of keys"),
        ("- 3", "base: base.yaml", "base.yaml` must hold keys and values"),
    ],
)
def test_a_fault_names_the_file_that_has_it(base, own, words, tmp_path):
    if base is not None:
        (tmp_path / "base.yaml").write_text(base)
    (tmp_path / "own.yaml").write_text(own)
    with pytest.raises(ConfigError, match=words):
        load_config(tmp_path / "own.yaml")


def test_a_fault_in_an_override_names_no_file(tmp_path):
    (tmp_path / "own.yaml").write_text("data: {batch_size: 4}")
    with pytest.raises(ConfigError, match="^`data.batch_size` must be at least 1; got 0"):
        load_config(tmp_path / "own.yaml", ["data.batch_size=0"])


@pytest.mark.parametrize(
    "content", ["training: {epoch: 3}", "task: vqa\nvqa: {num_answers: 1}", "task: vqa\nmodel: {decoder: lstm}"]
)
def test_faults_show_before_tensorflow_is_loaded(content, tmp_path):
    (tmp_path / "own.yaml").write_text(content)
    code = (
        "import sys, vl_keras.config as c\n"
        "try: c.load_config(sys.argv[1])\n"
        "except c.ConfigError as error: print(error)\n"
        "print(sorted({'tensorflow', 'tf_keras', 'numpy'}.intersection(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "own.yaml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    fault, loaded = done.stdout.splitlines()
    assert fault.startswith(str(tmp_path / "own.yaml")) and loaded == "[]"


def test_the_settings_page_of_the_documentation_is_that_of_the_code():
    """Made by `python -m vl_keras config --markdown > docs/settings.md`."""
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == as_markdown(sections())


def test_the_settings_page_of_one_task(singing):
    page = {section.name: section for section in sections("singing")}
    assert "generation" not in page and [one.key for one in page["singing"].settings] == [
        "singing.notes",
        "singing.key",
    ]
    assert "model.fusion" not in [one.key for one in page["model"].settings]
    text = as_text(sections("singing", "singing"))
    assert text == (
        "singing\n  Songs about images.\n\n"
        "  singing.notes  int  8\n      Notes of a song. Must be at least 1.\n"
        "  singing.key    str  c\n      Key of the song. Must be one of c, d.\n"
    )
    assert max(map(len, as_text(sections()).splitlines())) <= 100
    assert [section.name for section in sections(only="data.augment")] == ["data.augment"]
    assert "data.batch_size" in as_text(sections(only="data.batch_size"))
    with pytest.raises(ConfigError, match="no section or setting `generation`; the sections are data, "):
        sections("singing", "generation")
    with pytest.raises(ConfigError, match="no section or setting `data.batchsize`; did you mean `data.batch_size`"):
        sections(only="data.batchsize")


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


@pytest.mark.parametrize(
    "text", ["my photos #1/photos.jsonl", "~", "2024", "[raw] set/a.jsonl", "a: b", " x ", "on", ""]
)
def test_an_override_of_a_string_is_taken_as_it_is(text):
    assert config_from_dict({}, [f"data.manifest={text}"]).data.manifest == text
    assert config_from_dict({"data": {"manifest": "x"}}, [f"data.manifest={text}"]).data.manifest == text
    assert config_from_dict({}, [as_override("data.manifest", text)]).data.manifest == text


def test_any_setting_can_be_written_as_an_override():
    for key, value in values_of(config_from_dict({"task": "captioning"})).items():
        assert values_of(config_from_dict({}, [as_override(key, value)]))[key] == value, key


@pytest.mark.parametrize(
    "text, words",
    [
        (
            "\n".join(["a0: &a0 [x]", *(f"a{i}: &a{i} [{f'*a{i - 1}, ' * 9}]" for i in range(1, 10))]),
            "more than 100000 values",
        ),
        ("data: &a {manifest: *a}", "more than 100000 values"),
        ("data: " + "[" * 5000, "is no YAML"),
    ],
    ids=["aliases of aliases", "an alias in itself", "brackets"],
)
def test_a_config_that_unfolds_without_end_is_refused(text, words, tmp_path):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_config(tmp_path / "config.yaml")


def test_an_alias_in_a_config_stands_for_what_it_names(tmp_path):
    (tmp_path / "config.yaml").write_text("data: {train_split: &split train, dev_split: *split}")
    assert load_config(tmp_path / "config.yaml").data.dev_split == "train"
