import pytest

from vl_keras import progress
from vl_keras.progress import Progress, duration


def test_a_log_gets_a_line_now_and_then(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Progress("epoch 3/20", 50, "step", initial=10) as shown:
        for done in range(11, 26):
            now[0] += 4.0
            shown.to(done, lambda: "loss 2.5")
        assert shown.seconds == 60.0
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["epoch 3/20: step 18/50, loss 2.5, 0.25 steps/s, 128 s left"]


def test_silent(capsys):
    with Progress("epoch 1/1", 3, show=False) as shown:
        shown.to(3)
    assert capsys.readouterr().err == ""


def test_nothing_is_foretold_before_the_first_unit_or_of_an_unknown_number(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    for total in (200, 0):
        shown = Progress("images", total, "image")
        for done in (0, 20):
            now[0] += 40.0
            shown.to(done)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "images: image 0/200", "images: image 20/200, 0.25 images/s, 12 min left",
        "images: image 0", "images: image 20, 0.25 images/s",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "seconds, words", [(0.4, "0 s"), (128, "128 s"), (190, "3 min"), (7200, "120 min"), (11100, "3 h 5 min")]
)
def test_lengths_of_time(seconds, words):
    assert duration(seconds) == words
