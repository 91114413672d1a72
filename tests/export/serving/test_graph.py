"""A graph in its session: what a client may choose, and what it may not."""

import itertools
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf

from export.server.graph import Graph
from export.server.serving_error import ServingError

OUTPUTS = 6  # so that their combinations are more than a session's runs are prepared for and kept


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graph") / "1"
    module = tf.Module()
    module.f = tf.function(
        lambda x: {f"y{i}": x * float(i) for i in range(OUTPUTS)}, input_signature=[tf.TensorSpec([None], tf.float32)]
    )
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.f})
    graph = Graph.load(folder)
    yield graph
    graph.close()


@pytest.fixture(scope="module")
def names(graph):
    """Name of the input, and those of the outputs in order."""
    signature = graph.signatures["serving_default"]
    (x,) = signature.inputs.values()
    return x.name, [signature.outputs[f"y{i}"].name for i in range(OUTPUTS)]


@pytest.mark.parametrize("seconds", [None, 60])
def test_every_combination_of_outputs_is_answered(graph, names, seconds):
    x, outputs = names
    for count in range(1, OUTPUTS + 1):
        for chosen in itertools.combinations(range(OUTPUTS), count):
            deadline = seconds and time.monotonic() + seconds
            got = graph.run({x: np.float32([1, 2])}, [outputs[i] for i in chosen], deadline)
            assert {name: value.tolist() for name, value in got.items()} == {outputs[i]: [i, 2 * i] for i in chosen}


def test_a_name_may_leave_out_the_first_output(graph, names):
    x, (first, *_) = names
    assert first.endswith(":0")
    got = graph.run({x.removesuffix(":0"): np.float32([3])}, [first], time.monotonic() + 60)
    assert got[first].tolist() == [0]


@pytest.mark.parametrize("missing", ["nothing:0", "nothing", "a:b:c"])
def test_what_the_graph_has_not_is_named_as_tensorflow_serving_names_it(graph, names, missing):
    with pytest.raises(ServingError, match=f"{missing}.*was not found in the Graph") as error:
        graph.run({names[0]: np.float32([1])}, [missing], time.monotonic() + 60)
    assert error.value.code == grpc.StatusCode.INVALID_ARGUMENT
