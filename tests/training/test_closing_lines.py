"""What a training says at its end."""

import pytest

from vl_keras.runs.history import History
from vl_keras.tasks import TASKS
from vl_keras.tasks.phase_plan import PhasePlan
from vl_keras.training.closing_lines import closing_lines


@pytest.fixture
def said(small_config, tmp_path):
    """Function of `(phase, epoch, score)` rows to the lines, for phases of 4 and 2 epochs."""
    task = TASKS["captioning"](small_config("training.patience=2"))
    plans = [PhasePlan(name, epochs, *[None] * 7) for name, epochs in (("cross_entropy", 4), ("self_critical", 2))]

    def lines(*rows):
        history = History(tmp_path / "history.csv", writes=False)
        for phase, epoch, score in rows:
            history.append({"phase": phase, "epoch": epoch, "step": epoch, "CIDEr-D": score})
        return "\n".join(closing_lines(task, plans, history, "my runs/a"))

    return lines


FIRST, SECOND = "cross_entropy", "self_critical"


def test_a_metric_that_still_rose_comes_with_the_command_that_extends_the_run(said):
    text = said((FIRST, 3, 0.2), (FIRST, 4, 0.4))
    assert "Best CIDEr-D: 0.4, cross_entropy epoch 4.\nCIDEr-D still rose. To train on:\n" in text
    assert "vl-keras train 'my runs/a/config.yaml' --run-dir 'my runs/a' --resume --set training.epochs=6\n" in text
    assert "--set training.self_critical.epochs=3\n" in said((FIRST, 4, 0.4), (SECOND, 1, 0.5), (SECOND, 2, 0.6))


@pytest.mark.parametrize("last", [0.3, 0.4])
def test_one_that_did_not_is_not_to_be_trained_on(said, last):
    text = said((FIRST, 3, 0.4), (FIRST, 4, last))
    assert "0.4, cross_entropy" in text and "train on" not in text and "vl-keras evaluate 'my runs/a'" in text


def test_patience_is_named_as_the_reason(said):
    text = said((FIRST, 1, 0.4), (FIRST, 2, 0.3), (FIRST, 3, 0.2))
    assert "Stopped in epoch 3: none was better for 2 (`training.patience`)." in text


def test_a_run_of_no_epochs_has_next_commands_only(said):
    assert said().startswith("Next:\n  vl-keras evaluate")
