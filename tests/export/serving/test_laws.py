"""The laws under load, damage and abuse, in short; `python -m benchmarks.serving_laws` has their full length."""

import shutil

import pytest

from benchmarks.serving_laws.damaged import damaged
from benchmarks.serving_laws.fuzz import fuzz
from benchmarks.serving_laws.kills import kills
from benchmarks.serving_laws.models import publish, write_half
from benchmarks.serving_laws.overload import overload
from benchmarks.serving_laws.queued import queued
from benchmarks.serving_laws.soak import soak
from benchmarks.serving_laws.swaps import swaps

# Figures of time are the machine's as much as the server's where tests run side by side; the commands judge them.
TIMES = ("p99 of swaps / steady", "succeeded / capacity", "time to reject, p99", "normal latency after")


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("laws") / "template"
    write_half(folder)
    return folder


@pytest.fixture
def folder(template, tmp_path):
    shutil.copytree(template, tmp_path / "template")
    return tmp_path


@pytest.fixture
def original(kind):
    return kind == "original"


def broken(findings):
    return [str(each) for each in findings if each.held is False and each.what not in TIMES]


@pytest.mark.parametrize("batching", [False, True])
def test_swaps(folder, original, batching):
    assert not broken(swaps(folder, 5, clients=8, steady_s=0.5, batching=batching, original=original))


def test_damaged_versions(folder, original):
    assert not broken(damaged(folder, 12, clients=2, original=original))


@pytest.mark.slow
def test_every_kind_of_damage(folder, original):
    assert not broken(damaged(folder, 36, clients=2, original=original))


@pytest.mark.slow  # holds the server over its limits for half a minute
def test_overload(folder, original):
    assert not broken(overload(folder, 3, 1, ["timed"], ms=400, original=original))


@pytest.mark.slow  # half a minute of waiting
def test_what_waits_in_a_queue(folder, original):
    assert not broken(queued(folder, 60, original=original))


@pytest.mark.slow  # a soak takes its time
def test_soak(folder, original):
    assert not broken(soak(folder, 8, original=original))


def test_fuzz(folder, original):
    assert not broken(fuzz(folder, 1500, original=original))


@pytest.mark.slow
def test_fuzz_with_images_and_bombs_in_the_exported_graph(folder, exported, original):
    assert not broken(fuzz(folder, 3000, exported.path.parent, original=original))


def test_killed_while_publishing(tmp_path, template):
    source = tmp_path / "source"

    publish(template, source, 1)
    assert not broken(kills(tmp_path, source / "1", publishings=8))


@pytest.mark.slow
def test_killed_while_exporting(tmp_path, exported, trained_run):
    assert not broken(kills(tmp_path, exported.path, trained_run, publishings=10, exports=3))
