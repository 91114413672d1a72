"""A run is resumed with its files wherever they lie now, and not with others."""

import os
import shutil

import pytest

from vl_keras.runs.run_dir import RunDir
from vl_keras.runs.same_run import _FILES, _same_files


@pytest.fixture
def run(tmp_path):
    return RunDir(tmp_path / "run")


def module(folder, content):
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "data").write_bytes(content)
    return folder


SETTINGS = [
    ("image_encoder.backbone", "hub:{}", "image_encoder/module"),
    ("image_encoder.backbone", "keras:{}#mean", "image_encoder/model"),
    ("text_encoder.encoder", "{}", "text_encoder/encoder"),
    ("text_encoder.preprocessor", "{}", "text_encoder/preprocessor"),
    ("image_encoder.weights", "{}", None),
    ("text.vocabulary", "{}", None),
]


@pytest.mark.parametrize("name, form, copy", SETTINGS)
@pytest.mark.parametrize("moved", [False, True])
def test_the_same_files_elsewhere_are_the_same_and_others_are_not(run, tmp_path, monkeypatch, name, form, copy, moved):
    old, other = module(tmp_path / "old", b"one"), module(tmp_path / "other", b"two")
    if copy:
        shutil.copytree(old, run.path / copy)
    new = tmp_path / "new" / "old"
    shutil.move(old, new) if moved else shutil.copytree(old, new)
    if moved and not copy:
        other = module(tmp_path / "x" / "different", b"two")  # nothing but the name is left to tell them apart

    def same(place):
        return _same_files(run, name, form.format(old), form.format(place))

    assert name in _FILES and same(new) and not same(other)
    monkeypatch.chdir(tmp_path)
    assert same("new/old")


@pytest.mark.parametrize("name, form, copy", SETTINGS)
def test_another_form_of_a_path_names_the_same_files(run, tmp_path, monkeypatch, name, form, copy):
    module(tmp_path / "old", b"one")
    (tmp_path / "link").symlink_to("old")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for place in ("old", "./old/", "link", "~/old", f"{os.curdir}/link/../old"):
        assert _same_files(run, name, form.format(tmp_path / "old"), form.format(place))


def test_what_names_no_file_is_compared_as_it_is(run):
    assert not _same_files(run, "image_encoder.backbone", "MobileNetV2", "ResNet50")
    assert not _same_files(run, "image_encoder.backbone", "keras:a.keras#one", "keras:a.keras#two")
    assert not _same_files(run, "text_encoder.encoder", "", "/some/module")
    assert not _same_files(run, "text_encoder.encoder", "https://a/1", "https://a/2")


def test_a_run_outlives_what_it_has_copied(run, tmp_path):
    module(run.path / "text_encoder" / "encoder", b"one")
    assert _same_files(run, "text_encoder.encoder", str(tmp_path / "gone"), str(tmp_path / "also gone"))
