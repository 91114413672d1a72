"""Files that are missing, that cannot be asked, that are no files; disks that cannot be written, or have no locks."""

import builtins
import errno
import fcntl
import os
import socket
import unicodedata

import pytest

from tests.failing_files import failing
from vl_keras.data.image_files import ImageFiles, find_images
from vl_keras.files import LockError, is_gone, locked, problem_of, read_file


@pytest.fixture
def odd(tmp_path):
    """Folder with a pipe, a socket, a link to a device, a link to nothing, a large file and a good one."""
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    (tmp_path / "dangling.jpg").symlink_to("nothing")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(tmp_path)  # the path of a socket must be short
        server.bind("socket.jpg")
        os.chdir(here)
    with open(tmp_path / "large.jpg", "wb") as file:
        file.truncate(1 << 40)
    (tmp_path / "good.jpg").write_bytes(b"good")
    return tmp_path


def test_what_is_no_regular_file_is_refused_by_name_and_nothing_waits(odd):
    files = ImageFiles(find_images([odd]))
    images = dict(zip([path.name for path in files.paths], files.read("image", range(len(files))), strict=True))
    reasons = {os.path.basename(name): reason for name, reason in files.quarantine.rows}
    assert images.pop("good.jpg") == b"good" and set(images.values()) == {b""} and set(reasons) == set(images)
    for name in ("pipe.jpg", "socket.jpg", "device.jpg"):
        assert "not a regular file" in reasons[name] and "not a regular file" in problem_of(odd / name)
    assert "larger than 512 MiB" in reasons["large.jpg"] and "No such file" in reasons["dangling.jpg"]
    assert problem_of(odd / "dangling.jpg") == "there is no such file" and not problem_of(odd / "good.jpg")


def test_a_file_that_is_larger_than_it_says_is_not_read_to_its_end():
    with pytest.raises(OSError, match="larger than"):
        read_file("/proc/self/maps", most=10)  # its size is said to be 0


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_a_folder_that_cannot_be_listed_is_among_what_cannot_be_read(tmp_path, monkeypatch, number):
    for name in ("a/1.jpg", "b/2.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    failing(monkeypatch, os, "scandir", tmp_path / "b", number)
    files = ImageFiles(find_images([tmp_path]))
    assert files.paths == [tmp_path / "a/1.jpg", tmp_path / "b"]
    assert files.read("image", [1])[0] == b"" and "cannot be listed" in files.quarantine.rows[0][1]


@pytest.mark.parametrize(
    "number, gone", [(errno.ENOENT, True), (errno.ENOTDIR, True), (errno.EACCES, False), (errno.EIO, False)]
)
def test_only_what_is_certainly_missing_is_gone(tmp_path, monkeypatch, number, gone):
    assert is_gone(tmp_path / "x") and is_gone(tmp_path / ("x" * 300)) and not is_gone(tmp_path)
    failing(monkeypatch, os, "stat", tmp_path / "y", number)
    assert is_gone(tmp_path / "y/1.jpg") == gone


def test_a_lock_keeps_others_out(tmp_path):
    with locked(tmp_path / "lock") as held:
        assert held
        with pytest.raises(BlockingIOError), locked(tmp_path / "lock", wait=False):
            pass
    with locked(tmp_path / "lock", wait=False) as held:
        assert held


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_where_nothing_can_be_written_no_lock_is_needed(tmp_path, monkeypatch, number):
    failing(monkeypatch, builtins, "open", tmp_path, number)
    with locked(tmp_path / "lock") as held:
        assert not held


def test_a_full_disk_is_not_taken_for_one_that_is_only_read(tmp_path, monkeypatch):
    failing(monkeypatch, builtins, "open", tmp_path, errno.ENOSPC)
    with pytest.raises(OSError, match="No space"), locked(tmp_path / "lock"):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
@pytest.mark.parametrize("wait", [True, False])
def test_a_file_system_without_locks_is_said_to_be_one(tmp_path, monkeypatch, number, wait):
    def flock(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(LockError, match="has no file locks"), locked(tmp_path / "lock", wait):
        pass


def test_images_are_found_by_any_form_of_their_names_and_once_through_links(tmp_path):
    apart = unicodedata.normalize("NFD", "Fotos é/ü.jpg")
    (tmp_path / apart).parent.mkdir()
    (tmp_path / apart).touch()
    (tmp_path / "link").symlink_to((tmp_path / apart).parent)
    given = [tmp_path / unicodedata.normalize("NFC", apart), tmp_path / "link", tmp_path / "missing é.jpg"]
    assert find_images(given) == [tmp_path / apart, tmp_path / "missing é.jpg"]
