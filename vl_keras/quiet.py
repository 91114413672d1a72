"""Keeps off standard error what nobody can act on: TensorFlow's start-up noise, and what libjpeg says of bad images.

`TF_CPP_MIN_LOG_LEVEL=2`, which `vl_keras/__init__.py` sets, hides notices and warnings. The lines below are logged as
errors, and level 3 would hide real errors with them. `TF_CPP_VLOG_FILENAME` is the switch that sends the whole log
elsewhere: here to a `grep` that writes all other lines to standard error. It is a process of its own, so that
TensorFlow's last words are shown even when it aborts.
"""

import contextlib
import glob
import os
import subprocess
import sys
from collections.abc import Iterator

_LEVEL, _FILE = "TF_CPP_MIN_LOG_LEVEL", "TF_CPP_VLOG_FILENAME"
_NOISE = (
    "oneDNN supports DT_[A-Z0-9]* only on platforms with AVX-512",  # it falls back to another kernel
    "MLIR V1 optimization pass is not enabled",
)
# What libjpeg (jerror.h) prints itself, without the name of the image, which the quarantine tells with a reason.
_LIBJPEG = (
    "Corrupt JPEG data",
    "Premature end of JPEG",
    "Premature end of input file",
    "Inconsistent progression sequence",
    "Invalid (progressive|SOS) parameters",
    "Invalid (JPEG|SOI|component|crop)",
    "Unsupported (JPEG|marker|color|colour)",
    "Warning: unknown JFIF revision",
    "Bogus ",
    "Unknown Adobe color transform",
    "(Quantization|Huffman|Arithmetic) table 0x",
    "Improper call to JPEG library",
    "Maximum supported image dimension",
    "Empty JPEG image",
    "Not a JPEG file",
)
_NOISE_WITHOUT_GPU = ("failed call to cuInit",)  # where a GPU is, this says why it is not used


@contextlib.contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Inside, a first import of TensorFlow logs without the lines above.

    Does nothing if TensorFlow is imported already, if the user asks for its notices (`TF_CPP_MIN_LOG_LEVEL` below 2) or
    sends its log to a file (`TF_CPP_VLOG_FILENAME`), or on a system without `/proc` or `grep`.
    """
    asked = os.environ.get(_LEVEL, "2") in ("0", "1") or _FILE in os.environ
    if "tensorflow" in sys.modules or asked or not os.path.isdir("/proc/self/fd"):
        yield
        return
    noise = _NOISE if _has_gpu() else _NOISE + _NOISE_WITHOUT_GPU
    read, write = os.pipe()
    try:
        # In a session of its own, where Ctrl-C does not end it before the command's last line.
        subprocess.Popen(
            ["grep", "--line-buffered", "--text", "-v", *(part for text in noise for part in ("-e", text))],
            stdin=read,
            stdout=2,
            start_new_session=True,
        )
    except OSError:
        os.close(write)
        yield
        return
    finally:
        os.close(read)
    # Named by process, so that a process started from this one, which inherits the setting, finds the same pipe.
    os.environ[_FILE] = f"/proc/{os.getpid()}/fd/{write}"
    try:
        yield
    finally:
        del os.environ[_FILE]
        os.close(write)  # TensorFlow keeps the pipe open that it has opened by its name


@contextlib.contextmanager
def quiet_decoders() -> Iterator[None]:
    """Inside, the lines that libjpeg writes to standard error are dropped; all others, and Python's own, are written.

    libjpeg has no switch for them, so standard error becomes a `grep` that writes all other lines to the old one.
    Does nothing where `sys.stderr` is not standard error, or where there is no `grep`.
    """
    try:
        is_standard = sys.stderr.fileno() == 2
    except (AttributeError, OSError, ValueError):  # replaced by something that is no file
        is_standard = False
    if not is_standard:
        yield
        return
    old, before = os.dup(2), sys.stderr
    try:
        grep = subprocess.Popen(
            ["grep", "--line-buffered", "--text", "-v", "-E", "^(" + "|".join(_LIBJPEG) + ")"],
            stdin=subprocess.PIPE,
            stdout=old,
            start_new_session=True,
        )
    except OSError:
        os.close(old)
        yield
        return
    assert grep.stdin is not None
    before.flush()
    os.dup2(grep.stdin.fileno(), 2)
    grep.stdin.close()
    # Python's own lines take the short way: progress lines know a terminal, and nothing comes late.
    sys.stderr = open(old, "w", buffering=1, encoding=before.encoding, errors=before.errors, closefd=False)
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stderr = before
        os.dup2(old, 2)
        os.close(old)
        with contextlib.suppress(subprocess.TimeoutExpired):  # a process that was started inside may go on writing
            grep.wait(1)


def _has_gpu() -> bool:
    """Whether the system shows an NVIDIA GPU, `/dev/dxg` being that of Windows' Linux."""
    return bool(glob.glob("/dev/nvidia[0-9]*")) or os.path.exists("/dev/dxg")
