"""Tasks that read texts with a hub BERT."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from vl_keras.inference.predict import predict
from vl_keras.tasks import TASKS
from vl_keras.training.train import train


@pytest.mark.slow
@pytest.mark.parametrize("name", ["matching", "retrieval", "vqa"])
def test_a_graph_may_be_the_first_to_tokenize(task_config, hub_bert, name):
    task = TASKS[name](task_config(name, *hub_bert))
    model = task.build()
    image = np.random.default_rng(0).uniform(0, 255, (2, *task.config.data.image_size, 3)).astype("float32")
    texts = ["what shape is there", "the blue circle"]
    for signature in task.serving_signatures(model).values():
        inputs = {key: tf.constant(image if key == "image" else texts) for key in signature.inputs}
        graph = tf.function(signature.function, autograph=False).get_concrete_function(
            {key: tf.TensorSpec([None, *value.shape[1:]], value.dtype) for key, value in inputs.items()}
        )
        told, wanted = graph(inputs), signature.function(inputs)
        for key, value in wanted.items():
            if value.dtype == tf.string:
                np.testing.assert_array_equal(told[key], value)
            else:
                np.testing.assert_allclose(told[key], value, rtol=1e-4, atol=1e-5)


@pytest.mark.slow  # trains a run, half a minute; the parts are tested in tests/runs
def test_a_run_does_not_depend_on_where_its_modules_came_from(task_config, hub_bert, write_manifest, tmp_path):
    write_manifest([{"captions": ["a"]}])
    moved = []
    for setting in hub_bert[:2]:
        key, folder = setting.split("=")
        shutil.copytree(folder, tmp_path / "modules" / key)
        moved.append(f"{key}={tmp_path / 'modules' / key}")
    config = task_config("matching", *moved, *hub_bert[2:], "training.epochs=1")
    train(config, tmp_path / "run")
    question = {"images": [tmp_path / "0.png"], "inputs": {"text": ["the blue circle"]}}
    before = predict(tmp_path / "run", **question)[0].output
    shutil.rmtree(tmp_path / "modules")
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    assert predict(tmp_path / "elsewhere", **question)[0].output == before
