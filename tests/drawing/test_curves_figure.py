from vl_keras.drawing.curves_figure import curves_figure

# As a CSV file gives them back: a metric that an epoch did not compute is an empty text.
ROWS = [
    {"phase": "cross_entropy", "loss": 5.5, "reward": "", "CIDEr-D": ""},
    {"phase": "cross_entropy", "loss": 4, "reward": "", "CIDEr-D": 0.25},
    {"phase": "self_critical", "loss": "", "reward": 0.125, "CIDEr-D": 0.75},
    {"phase": "self_critical", "loss": "", "reward": 0.5, "CIDEr-D": 0.5},
]


def lines(axes):
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]


def test_each_number_has_a_panel_with_the_epochs_that_have_it():
    loss, reward, monitor = curves_figure(ROWS, "CIDEr-D").axes
    assert lines(loss)[0] == ([1, 2], [5.5, 4])
    assert lines(reward)[0] == ([3, 4], [0.125, 0.5])
    assert lines(monitor)[0] == ([2, 3, 4], [0.25, 0.75, 0.5])
    for axes in (loss, reward, monitor):
        assert lines(axes)[1][0] == [2.5, 2.5]  # where the second phase begins


def test_the_best_epoch_has_a_ring_and_stands_in_the_title():
    monitor = curves_figure(ROWS, "CIDEr-D").axes[-1]
    assert lines(monitor)[-1] == ([3], [0.75])
    assert monitor.get_title() == "CIDEr-D, best 0.750 in epoch 3"


def test_a_training_without_metrics_yet(tmp_path):
    figure = curves_figure(ROWS[:1], "CIDEr-D")
    assert [axes.get_title() for axes in figure.axes] == ["loss"]
    figure.savefig(tmp_path / "curves.png")
    curves_figure([], "CIDEr-D").savefig(tmp_path / "empty.png")
