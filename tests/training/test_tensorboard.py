import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vl_keras.training.tensorboard import Board


def read(folder):
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    return {
        tag: [(event.step, float(tf.make_ndarray(event.tensor_proto))) for event in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
        if tag == "loss"
    }


@pytest.mark.parametrize("half_written", [False, True])
def test_a_resumed_board_neither_loses_nor_doubles(tmp_path, half_written):
    board = Board(tmp_path)
    for step in range(6):
        board.scalars(step, {"loss": 10.0 - step})
    board.close()
    path = next(tmp_path.iterdir())
    if half_written:
        path.write_bytes(path.read_bytes()[:-3])
    # Files are read in the order of their names, which begin with the second: a run is not resumed in the same one.
    *kind, second, writer = path.name.split(".", 4)
    path.rename(path.with_name(".".join([*kind, str(int(second) - 1), writer])))
    board = Board(tmp_path, step=3)
    for step in (4, 5):
        board.scalars(step, {"loss": 20.0 - step})
    board.close()
    expected = [10.0, 9.0, 8.0, 7.0, 16.0, 15.0]
    assert read(tmp_path)["loss"] == list(enumerate(expected))


def test_images_and_their_captions(tmp_path):
    board = Board(tmp_path)
    board.images(3, "dev", [np.zeros((24, 40, 3), np.uint8), np.zeros((30, 17, 3), np.uint8)], ["a", "b"])
    board.close()
    events = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0})
    events.Reload()
    assert set(events.Tags()["tensors"]) == {"dev/0", "dev/1", "dev"}
    assert [text.decode() for text in tf.make_ndarray(events.Tensors("dev")[0].tensor_proto)] == ["a", "b"]
    width, height, _ = tf.make_ndarray(events.Tensors("dev/1")[0].tensor_proto)
    assert (int(width), int(height)) == (17, 30)


def test_no_folder_no_files():
    board = Board(None)
    board.scalars(1, {"loss": 1.0})
    board.images(1, "dev", [], [])
    board.flush()
    board.close()
