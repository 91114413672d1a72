"""Tasks that read texts with a hub BERT, as they are exported: nothing was tokenized before."""

import numpy as np
import pytest
import tensorflow as tf

from vl_keras.tasks import TASKS


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
