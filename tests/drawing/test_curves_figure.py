from vl_keras.drawing.curves_figure import curves_figure

# As a CSV file gives them back: a metric that an epoch did not compute is an empty text.
ROWS = [
    {"phase": "cross_entropy", "epoch": 1, "loss": 5.5, "dev_loss": "", "reward": "", "CIDEr-D": ""},
    {"phase": "cross_entropy", "epoch": 2, "loss": 4, "dev_loss": 4.5, "reward": "", "CIDEr-D": 0.25},
    {"phase": "self_critical", "epoch": 0, "loss": "", "dev_loss": 4.5, "reward": "", "CIDEr-D": 0.375},
    {"phase": "self_critical", "epoch": 1, "loss": "", "dev_loss": 4.75, "reward": 0.125, "CIDEr-D": 0.75},
    {"phase": "self_critical", "epoch": 2, "loss": "", "dev_loss": 4.875, "reward": 0.5, "CIDEr-D": 0.5},
]


def lines(axes):
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]


def test_each_number_has_a_panel_with_the_epochs_that_have_it():
    """A phase's curve begins where the phase before it ends."""
    loss, reward, monitor = curves_figure(ROWS, "CIDEr-D").axes
    assert lines(loss)[:3] == [([1, 2], [5.5, 4]), ([2], [4.5]), ([2, 3, 4], [4.5, 4.75, 4.875])]
    assert lines(reward)[0] == ([3, 4], [0.125, 0.5])
    assert lines(monitor)[:2] == [([2], [0.25]), ([2, 3, 4], [0.375, 0.75, 0.5])]
    for axes in (loss, reward, monitor):
        assert lines(axes)[-1][0] == [2, 2]  # where the second phase begins
    (second,) = curves_figure([ROWS[0], ROWS[3]], "BLEU").axes[:1]
    assert lines(second)[-1][0] == [1.5, 1.5]  # a phase that is not evaluated at its start


def test_the_losses_of_both_splits_are_told_apart():
    loss, reward, _ = curves_figure(ROWS, "CIDEr-D").axes
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["training", "development"]
    assert reward.get_legend() is None


def test_the_best_epoch_has_a_ring_and_stands_in_the_title():
    monitor = curves_figure(ROWS, "CIDEr-D").axes[-1]
    assert lines(monitor)[-2] == ([3], [0.75])
    assert monitor.get_title() == "CIDEr-D, best 0.750 in epoch 3"


def test_a_training_without_metrics_yet(tmp_path):
    figure = curves_figure(ROWS[:1], "CIDEr-D")
    assert [axes.get_title() for axes in figure.axes] == ["loss"]
    figure.savefig(tmp_path / "curves.png")
    curves_figure([], "CIDEr-D").savefig(tmp_path / "empty.png")
