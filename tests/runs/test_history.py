import math

from vl_keras.runs.history import History


def rows():
    yield {"phase": "cross_entropy", "epoch": 1, "step": 7, "loss": 3.25, "CIDEr-D": 0.1 + 0.2}
    yield {"phase": "cross_entropy", "epoch": 2, "step": 14, "loss": math.pi}
    yield {"phase": "self_critical", "epoch": 1, "step": 21, "reward": 0.5, "CIDEr-D": 0.1 + 0.2}


def test_what_is_written_is_read_back_exactly(tmp_path):
    history = History(tmp_path / "history.csv")
    for row in rows():
        history.append(row)
    again = History(tmp_path / "history.csv")
    assert [{key: value for key, value in row.items() if value != ""} for row in again.rows] == list(rows())
    assert [row["step"] for row in again.of("self_critical")] == [21]


def test_the_last_of_the_best_is_the_best_and_the_first_is_known(tmp_path):
    history = History(tmp_path / "history.csv")
    assert history.best("CIDEr-D") is None
    for row in rows():
        history.append(row)
    again = History(tmp_path / "history.csv")
    assert again.best("CIDEr-D")["step"] == 21 and again.first_best("CIDEr-D")["step"] == 7


def test_rows_of_epochs_that_are_run_again_go(tmp_path):
    history = History(tmp_path / "history.csv")
    for row in rows():
        history.append(row)
    history.keep(20)
    assert [row["step"] for row in History(tmp_path / "history.csv").rows] == [7, 14]


def test_a_worker_that_does_not_write_remembers(tmp_path):
    history = History(tmp_path / "history.csv", writes=False)
    for row in rows():
        history.append(row)
    assert history.best("CIDEr-D")["step"] == 21 and not (tmp_path / "history.csv").exists()
