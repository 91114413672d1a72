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


@pytest.fixture
def kept(small_config, tmp_path):
    """Function: the epochs whose weights become the best, given each epoch's CIDEr and the number of dev images."""

    def ask(*scores, images=20):
        saved, ahead = [], iter(scores)
        task = SimpleNamespace(
            monitor="CIDEr-D",
            phase_names=("cross_entropy",),
            source=lambda split: range(images),
            epoch_metrics=lambda *arguments: ({"CIDEr-D": next(ahead)}, {}),
        )
        session = SimpleNamespace(
            config=small_config("training.evaluate_examples=0"),
            task=task,
            model=None,
            strategy=None,
            run=SimpleNamespace(writes=False, best=tmp_path, tensorboard=None, last_checkpoint=lambda phases: None),
            history=History(tmp_path / "history.csv", writes=False),
            log=said.append,
            board=None,
            _best=SimpleNamespace(save=lambda checkpoint_number: saved.append(checkpoint_number)),
            _draw=lambda *arguments: None,
        )
        Session.begin(session, 0)
        model = SimpleNamespace(optimizer=SimpleNamespace(use_ema=False), trainable_variables=[])
        for epoch in range(1, len(scores) + 1):
            metrics = Session._evaluate(session, Phase("cross_entropy", model, None, 1, 9), epoch, epoch)
            session.history.append({"phase": "cross_entropy", "epoch": epoch, "step": epoch, **metrics})
        return saved

    ask.said = said = []
    return ask


def test_of_equal_metrics_the_later_weights_are_kept(kept):
    assert kept(0.0, 0.0, 0.25, 0.0, 0.25, 0.5) == [1, 2, 3, 5, 6]
    assert kept(1.0, 1.0, 0.9, 1.0) == [1, 2, 4]
    assert not kept.said


def test_a_dev_split_too_small_to_choose_by_is_said_and_the_last_weights_are_used(kept):
    assert kept(1.0, 0.5, 0.25, images=1) == [1, 2, 3]
    assert "gives 1 image to measure on, too few to choose an epoch by" in kept.said[0]
