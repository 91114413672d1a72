from types import SimpleNamespace

import pytest

from vl_keras.runs.history import History
from vl_keras.tasks.captioning import CaptioningTask
from vl_keras.training.phase import Phase
from vl_keras.training.session import Session


@pytest.fixture
def is_over(small_config, tmp_path):
    """Function: is a phase of 9 epochs with a patience of 2 over, given each epoch's CIDEr (None: not measured)?"""
    config = small_config("training.patience=2", "training.epochs=9")

    def ask(*scores, before=(), epochs=9, config=config, first=1):
        history = History(tmp_path / "history.csv", writes=False)
        for phase, measured in (("cross_entropy", before), ("self_critical", scores)):
            for epoch, score in enumerate(measured, start=first if phase == "self_critical" else 1):
                row = {"phase": phase, "epoch": epoch, "step": epoch}
                history.append(row if score is None else {**row, "CIDEr-D": score})
        session = SimpleNamespace(history=history, config=config, task=CaptioningTask)
        return Session.is_over(session, Phase("self_critical", None, None, 5, epochs))

    return ask


def test_a_phase_ends_with_its_epochs(is_over):
    assert not is_over(*[0.1 * n for n in range(8)])
    assert is_over(*[0.1 * n for n in range(9)])
    assert is_over(epochs=0)


def test_patience_counts_epochs_since_the_best(is_over):
    assert not is_over(0.3, 0.2)
    assert is_over(0.3, 0.2, 0.3)
    assert not is_over(0.3, 0.2, 0.31)
    assert is_over(0.3, 0.5, 0.4, 0.4)


def test_patience_ends_only_where_it_was_measured(is_over):
    assert not is_over(0.3, None, None)
    assert is_over(0.3, None, 0.2)


def test_a_phase_that_never_beats_the_one_before(is_over):
    assert not is_over(0.3, before=(0.1, 0.4))
    assert is_over(0.3, 0.2, before=(0.1, 0.4))


def test_the_start_of_a_phase_is_none_of_its_epochs(is_over):
    assert not is_over(*[0.1 * n for n in range(9)], first=0)  # epochs 0 to 8 of 9
    assert is_over(*[0.1 * n for n in range(10)], first=0)
    assert not is_over(0.4, 0.3, first=0) and is_over(0.4, 0.3, 0.2, first=0)  # two epochs after the best, epoch 0
    assert not is_over(0.4, 0.3, before=(0.4,), first=0) and is_over(0.4, 0.3, 0.2, before=(0.4,), first=0)


def test_no_patience_no_end(is_over, small_config):
    assert not is_over(0.3, 0.2, 0.1, 0.1, config=small_config("training.epochs=9"))


def test_of_metrics_that_are_all_0_the_last_weights_are_kept(small_config, tmp_path):
    saved, scores = [], iter([0.0, 0.0, 0.25, 0.0, 0.25, 0.5])
    task = SimpleNamespace(
        monitor="CIDEr-D",
        phase_names=("cross_entropy",),
        source=lambda split: range(3),
        epoch_metrics=lambda *arguments: ({"CIDEr-D": next(scores)}, {}),
    )
    session = SimpleNamespace(
        config=small_config(),
        task=task,
        model=None,
        strategy=None,
        run=SimpleNamespace(writes=False, best=tmp_path, last_checkpoint=lambda phases: None),
        history=History(tmp_path / "history.csv", writes=False),
        _best=SimpleNamespace(save=lambda checkpoint_number: saved.append(checkpoint_number)),
        _draw=lambda *arguments: None,
    )
    model = SimpleNamespace(optimizer=SimpleNamespace(use_ema=False), trainable_variables=[])
    for epoch in range(1, 7):
        metrics = Session._evaluate(session, Phase("cross_entropy", model, None, 1, 9), epoch, epoch)
        session.history.append({"phase": "cross_entropy", "epoch": epoch, "step": epoch, **metrics})
    assert saved == [1, 2, 3, 6]
