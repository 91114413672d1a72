"""A version appears whole or not at all."""

import subprocess
import sys
import time

import pytest

from export.errors import ExportError
from export.publish import publishing, versions


def test_a_version_appears_when_the_block_ends_well(tmp_path):
    base = tmp_path / "model"
    with publishing(base) as (folder, version):
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text("whole")
        assert version == 1 and versions(base) == []
    assert versions(base) == [1] and (base / "1" / "deep" / "file").read_text() == "whole"
    with publishing(base, 7):
        pass
    with publishing(base) as (_, version):
        assert version == 8
    assert (base / "8").stat().st_mode & 0o777 == 0o755


def test_a_block_that_raises_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), publishing(tmp_path) as (folder, _):
        (folder / "file").write_text("half")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    "version, says", [(3, "next free version is 4"), (0, "positive"), (-1, "positive"), (2**63, "63 bits")]
)
def test_a_published_version_does_not_change(tmp_path, version, says):
    (tmp_path / "3").mkdir()
    with pytest.raises(ExportError, match=says), publishing(tmp_path, version):
        raise AssertionError("must not begin")


WRITER = """
import sys
from export.publish import publishing
with publishing(sys.argv[1]) as (folder, version):
    print(version, flush=True)
    for i in range(2000):
        (folder / f"part-{i}").write_bytes(b"x" * 1000)
"""


def test_killed_at_any_moment_no_half_version_is_there(tmp_path):
    for kill in range(12):
        process = subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(0.03 * kill)
        process.kill()
        process.wait()
        for version in versions(tmp_path):
            assert len(list((tmp_path / str(version)).iterdir())) == 2000
    with publishing(tmp_path):
        pass
    left = [path.name for path in tmp_path.iterdir() if not path.name.isdecimal()]
    assert left == [".lock"]
