"""How long a training is said to take still."""

from types import SimpleNamespace

from vl_keras.training.time_left import time_left


def plan(name, epochs, steps, group=1, from_best=False):
    return SimpleNamespace(name=name, epochs=epochs, steps_per_epoch=steps, accumulate_steps=group, from_best=from_best)


PLANS = (plan("first", 5, 10, group=2), plan("second", 3, 40, from_best=True))


def row(phase, epoch, seconds, evaluation=""):
    return {"phase": phase, "epoch": epoch, "seconds": seconds, "evaluation_seconds": evaluation}


def test_all_phases_and_evaluations_count():
    rows = [row("first", 1, 100.0), row("first", 2, 60.0, 7.0), row("first", 3, 60.0)]
    # Two epochs of 20 batches at 3 s, evaluated in epochs 4 and 5; then the start of the second phase, three epochs of
    # 40 batches, evaluated in epochs 2 and 3.
    assert time_left(rows, PLANS, 2) == 2 * 60 + 2 * 7 + 7 + 3 * 120 + 2 * 7
    assert time_left(rows, PLANS, 2, over=True) == 7 + 3 * 120 + 2 * 7


def test_a_phase_that_has_begun_is_judged_by_its_own_epochs():
    rows = [row("first", 5, 60.0, 7.0), row("second", 0, 0.0, 7.0)]
    assert time_left(rows, PLANS, 1) == 3 * 120 + 3 * 7  # none yet: by the batches of the first
    rows += [row("second", 1, 400.0, 7.0)]
    assert time_left(rows, PLANS, 1) == 2 * 400 + 2 * 7


def test_nothing_is_said_where_nothing_is_left_or_known():
    assert time_left([row("second", 3, 400.0, 7.0)], PLANS, 1) is None
    assert time_left([row("first", 1, 0.0, 7.0)], PLANS, 1) is None
    assert time_left([], PLANS, 1) is None
