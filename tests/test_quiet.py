"""What reaches a user's terminal: real errors do, TensorFlow's red herrings do not."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOISE = re.compile(
    "cuInit|oneDNN supports|MLIR V1|Shuffling|incomplete|cuda|computation_placer|Generating splits|INFO:|WARNING:"
)
LOG = """
import ctypes, pathlib, sys
from vl_keras.cli.errors import run_command

def work():
    import tensorflow as tf
    tf.constant(1)
    log = ctypes.CDLL(str(pathlib.Path(tf.__file__).parent / "libtensorflow_cc.so.2")).TF_Log
    error, fatal = 2, 3
    log(error, b"oneDNN supports DT_UINT8 only on platforms with AVX-512. Falling back to the default.")
    log(error, b"MLIR V1 optimization pass is not enabled")
    log(error, b"a real error")
    print("python's own", file=sys.stderr)
    if sys.argv[1] == "abort":
        log(fatal, b"the last words")
    tf.linalg.inv(tf.zeros((2, 2)))

run_command("vl-x", work)
"""


def _run(*command, **environment):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TF_CPP")} | environment
    environment["PYTHONPATH"] = str(ROOT)
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.slow  # trains in another process, half a minute
def test_a_training_prints_no_red_herrings(tmp_path):
    settings = ["data.shapes.scenes=40", "training.epochs=1", "training.evaluate_examples=4"]
    settings += [f"data.data_dir={tmp_path}", "data.image_size=[24, 32]", "data.shapes.image_size=[24, 32]"]
    done = _run("-m", "vl_keras", "train", "captioning/tiny", "--run-dir", str(tmp_path / "run"), "--set", *settings)
    assert done.returncode == 0, done.stderr
    assert "cross_entropy epoch 1/1" in done.stderr and "Preparing shapes" in done.stderr
    assert not [line for line in re.split("[\r\n]", done.stderr) if NOISE.search(line)]


@pytest.mark.parametrize("end", ["abort", "raise"])
def test_real_errors_are_shown(end):
    done = _run("-c", LOG, end)
    assert done.returncode != 0
    assert "a real error" in done.stderr and "python's own" in done.stderr
    assert ("the last words" in done.stderr) == (end == "abort")
    assert ("Input is not invertible" in done.stderr) == (end == "raise")
    assert not [line for line in done.stderr.splitlines() if NOISE.search(line) and "Input is not" not in line]


def test_who_sends_the_log_to_a_file_gets_all_of_it_there(tmp_path):
    done = _run("-c", LOG, "raise", TF_CPP_VLOG_FILENAME=str(tmp_path / "log"))
    log = (tmp_path / "log").read_text()
    assert "oneDNN supports DT_UINT8" in log and "a real error" in log and "a real error" not in done.stderr


def test_nothing_is_left_behind():
    code = (
        "import os, sys\nfrom vl_keras.cli.errors import run_command\n"
        "before = set(os.listdir('/proc/self/fd')), dict(os.environ)\n"
        "run_command('vl-x', lambda: None)\n"
        "assert (set(os.listdir('/proc/self/fd')), dict(os.environ)) == before"
    )
    assert _run("-c", code).returncode == 0


BAD_JPEG = """
import io, os, sys
from vl_keras.cli.errors import run_command

def work():
    import numpy as np
    from PIL import Image
    from vl_keras.data.open_image import decode_pixels
    file = io.BytesIO()
    Image.effect_noise((64, 48), 60).save(file, "JPEG")
    data = file.getvalue()
    place = data.index(b"\\xff\\xda") + 60
    decode_pixels(data[:place] + bytes(200) + data[place + 200 :])
    os.write(2, b"a real line\\n")
    print("python's own", file=sys.stderr)

sys.exit(run_command("vl-x", work))
"""


def test_libjpegs_own_lines_are_not_shown():
    done = _run("-c", BAD_JPEG)
    assert "a real line" in done.stderr and "python's own" in done.stderr
    assert not [line for line in done.stderr.splitlines() if line.startswith("Corrupt JPEG data")], done.stderr
