import resource

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from vl_keras.errors import RunError
from vl_keras.models.training_model import TrainingModel
from vl_keras.runs.checkpoints import Checkpoints, dropout_generators
from vl_keras.runs.strategy import keras_settings
from vl_keras.training.optimizer import build_optimizer, weight_averages

BATCH = (np.ones((4, 3), "float32"), np.ones((4, 5), "float32"), np.ones((4,), "float32"))


def make_model(units=5, seed=1):
    with keras_settings("float32", seed):
        inputs = keras.Input((3,))
        hidden = keras.layers.Dropout(0.5)(keras.layers.Dense(7)(inputs))
        model = TrainingModel(inputs, keras.layers.Dense(units)(hidden))
        model.compile(build_optimizer(model.trainable_variables, 0.01, ema_decay=0.9), loss="mse")
    return model


def checkpoints_of(model, folder, **settings):
    averages = {"all": weight_averages(model.optimizer, model.trainable_variables)}
    return Checkpoints(folder, model, {"all": model.trainable_variables}, averages, **settings)


def steps(model, count):
    dataset = tf.data.Dataset.from_tensors(BATCH).repeat()
    model.fit(dataset, steps_per_epoch=count, epochs=1, verbose=0)


def test_restored_training_goes_on_bit_for_bit(tmp_path):
    first = make_model()
    saved = checkpoints_of(first, tmp_path)
    steps(first, 3)
    saved.save(3)
    loss = saved.metric_values()
    steps(first, 4)

    second = make_model(seed=2)
    restored = checkpoints_of(second, tmp_path)
    assert restored.restore() == 3
    assert [a.tolist() for a in restored.metric_values()[0]] == [a.tolist() for a in loss[0]]
    steps(second, 4)
    for ours, theirs in zip(
        [*second.variables, *second.optimizer.variables], [*first.variables, *first.optimizer.variables], strict=True
    ):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.name)


def test_every_dropout_layer_has_its_generator():
    model = make_model()
    assert len(dropout_generators(model)) == 1
    nested = keras.Sequential([model, keras.layers.Dropout(0.5)])
    assert len(dropout_generators(nested)) == 1  # made outside `keras_settings`: that one's state cannot be saved


def test_nothing_to_restore(tmp_path):
    assert checkpoints_of(make_model(), tmp_path / "new").restore() is None


def test_only_the_last_few_are_kept(tmp_path):
    saved = checkpoints_of(make_model(), tmp_path)
    for step in range(5):
        saved.save(step)
    assert sorted(path.stem for path in tmp_path.glob("*.index")) == ["ckpt-2", "ckpt-3", "ckpt-4"]


def test_weights_that_are_no_numbers_are_not_saved(tmp_path):
    model = make_model()
    saved = checkpoints_of(model, tmp_path)
    saved.save(6)
    model.trainable_variables[0].assign(model.trainable_variables[0] * np.nan)
    with pytest.raises(RunError, match=r"not finite numbers at step 8.*ckpt-6.*learning_rate"):
        saved.save(8)
    assert saved.restore() == 6 and saved.is_finite()


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path):
    model = make_model()
    saved = checkpoints_of(model, tmp_path)
    saved.save(2)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # no file may grow beyond 100 bytes
    try:
        with pytest.raises(RunError, match=r"step 4 cannot be written.*Make room.*ckpt-2"):
            saved.save(4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.glob("*_temp*"))
    assert checkpoints_of(make_model(seed=2), tmp_path).restore() == 2
    saved.save(4)
    assert checkpoints_of(make_model(seed=2), tmp_path).restore() == 4


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path):
    saved = checkpoints_of(make_model(), tmp_path)
    saved.save(1)
    saved.save(2)
    path = next(tmp_path.glob("ckpt-2.data*"))
    path.write_bytes(path.read_bytes()[:50])
    lines = []
    assert checkpoints_of(make_model(seed=2), tmp_path).restore(lines.append) == 1
    assert "ckpt-2 cannot be read" in lines[0]
    for path in tmp_path.glob("ckpt-1.data*"):
        path.write_bytes(b"")
    with pytest.raises(RunError, match="None of the checkpoints"):
        checkpoints_of(make_model(seed=2), tmp_path).restore(lines.append)


def test_the_checkpoint_of_another_model_is_refused(tmp_path):
    checkpoints_of(make_model(), tmp_path).save(1)
    with pytest.raises(RunError, match="ckpt-1 is of another model"):
        checkpoints_of(make_model(units=6), tmp_path).restore()


def test_other_workers_leave_no_files(tmp_path):
    checkpoints_of(make_model(), tmp_path / "run", chief=False).save(1)
    assert not (tmp_path / "run").exists()
