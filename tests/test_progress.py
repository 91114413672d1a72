from vl_keras import progress
from vl_keras.progress import Progress


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
