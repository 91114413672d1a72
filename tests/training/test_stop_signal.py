"""Signals that end a program ask training to stop, even where the main thread is in native code."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vl_keras.training.stop_signal import StopSignal

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_the_signal_is_noted_and_the_handlers_come_back(number):
    before = signal.getsignal(number)
    with StopSignal() as stop:
        os.kill(os.getpid(), number)
        signal.sigtimedwait([], 0)  # lets the handler run
        assert stop.number == number
    assert signal.getsignal(number) == before


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignal() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.number is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_call_that_never_comes_back_ends_with_the_process():
    code = (
        "import ctypes, os, signal, threading\n"
        "from vl_keras.training import stop_signal\n"
        "stop_signal._STUCK_SECONDS = 0.5\n"
        "with stop_signal.StopSignal() as stop:\n"
        "    stop._note = None\n"
        "    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"
        "    lock = (ctypes.c_char * 64)()\n"
        "    libc = ctypes.CDLL(None)\n"
        "    libc.pthread_mutex_init(lock, None)\n"
        "    [libc.pthread_mutex_lock(lock) for _ in range(2)]\n"  # waits for itself; signals do not interrupt it
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 143 and "did not come back" in done.stderr
