"""Keeps what TensorFlow's C++ code logs at every start, and nobody can act on, off standard error.

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


def _has_gpu() -> bool:
    """Whether the system shows an NVIDIA GPU, `/dev/dxg` being that of Windows' Linux."""
    return bool(glob.glob("/dev/nvidia[0-9]*")) or os.path.exists("/dev/dxg")
