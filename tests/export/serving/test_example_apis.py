"""Classify, Regress and MultiInference over a socket."""

import json

import calls
import grpc
import numpy as np
import pytest
from calls import classify_request, example, multi_request, refused, regress_request
from served import call, serving_rest
from serving_models import CLASSIFY, REGRESS, declare, edit, publish

code = grpc.StatusCode
EXAMPLES = [example(x=1.0), example(x=3.0)]


def test_regress(served):
    answer = served.predictions.Regress(regress_request("half", EXAMPLES, "regress"))
    assert [each.value for each in answer.result.regressions] == [3.5, 4.5]
    assert answer.model_spec.signature_name == "regress"
    assert answer.model_spec.version.value == 2


def test_classify_gives_labels_and_scores(served):
    answer = served.predictions.Classify(classify_request("half", EXAMPLES, "classify", version=1))
    rows = [[(each.label, each.score) for each in row.classes] for row in answer.result.classifications]
    assert rows == [[("low", 2.5), ("high", -2.5)], [("low", 3.5), ("high", -3.5)]]
    assert answer.model_spec.version.value == 1


def test_scores_alone_will_do(served):
    answer = served.predictions.Classify(classify_request("half", EXAMPLES, "classify_scores"))
    assert [[each.label for each in row.classes] for row in answer.result.classifications] == [["", ""]] * 2


def test_a_context_fills_in_what_an_example_lacks(served):
    request = regress_request("half", [example(), example(x=3.0)], "regress", context=example(x=1.0))
    answer = served.predictions.Regress(request)
    assert [each.value for each in answer.result.regressions] == [3.5, 4.5]


def test_multi_inference_answers_each_task_in_order(served):
    tasks = [("half", "regress", REGRESS), ("half", "classify", CLASSIFY)]
    answer = served.predictions.MultiInference(multi_request(tasks, EXAMPLES))
    regression, classification = answer.results
    assert [each.value for each in regression.regression_result.regressions] == [3.5, 4.5]
    assert classification.classification_result.classifications[0].classes[0].label == "low"
    assert [each.model_spec.signature_name for each in answer.results] == ["regress", "classify"]
    assert {each.model_spec.version.value for each in answer.results} == {2}


@pytest.mark.parametrize(
    "signature, text",
    [
        ("no", "No signature was found with the name: no"),
        ("two_inputs", "Expected one input Tensor."),
        ("regress_other_input", "No regression inputs found in SignatureDef"),
        ("regress_other_output", "No regression outputs found in SignatureDef"),
        ("regress_wide", "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,2]"),
        ("regress_int", "Expected output Tensor of DT_FLOAT.  Got: DT_INT64"),
    ],
)
def test_signatures_that_do_not_regress(served, signature, text):
    got, details = refused(served.predictions.Regress, regress_request("half", EXAMPLES, signature))
    assert got == code.INVALID_ARGUMENT
    assert text in details


@pytest.mark.parametrize(
    "signature, text",
    [
        ("no", "No signature was found with the name: no"),
        ("serving_default", "No classification inputs found in SignatureDef"),
        ("classify_other_output", "Expected classification signature outputs to contain at least one of"),
        ("classify_int", "Expected scores Tensor of DT_FLOAT. Got: DT_INT64"),
    ],
)
def test_signatures_that_do_not_classify(served, signature, text):
    got, details = refused(served.predictions.Classify, classify_request("half", EXAMPLES, signature))
    assert got == code.INVALID_ARGUMENT
    assert text in details


def test_no_examples_no_model_spec_and_unknown_models(served):
    empty = regress_request("half", [], "regress")
    assert refused(served.predictions.Regress, empty) == (code.INVALID_ARGUMENT, "Input is empty.")
    request = classify_request("half", EXAMPLES, "classify")
    request.ClearField("model_spec")
    assert refused(served.predictions.Classify, request) == (code.INVALID_ARGUMENT, "Missing ModelSpec")
    unknown = regress_request("nobody", EXAMPLES)
    assert refused(served.predictions.Regress, unknown)[0] == code.NOT_FOUND


@pytest.mark.parametrize(
    "tasks, expected, text",
    [
        ([("half", "no", REGRESS)], code.INVALID_ARGUMENT, "Requested signature not found in model graph: no"),
        ([("half", "regress", REGRESS)] * 2, code.INVALID_ARGUMENT, "Duplicate evaluation of signature: regress"),
        (
            [("half", "regress", REGRESS), ("tools", "plus", REGRESS)],
            code.INVALID_ARGUMENT,
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        ([("half", "regress", "other")], code.UNIMPLEMENTED, "Unsupported signature method_name: other"),
    ],
)
def test_tasks_that_are_refused(served, tasks, expected, text):
    got, details = refused(served.predictions.MultiInference, multi_request(tasks, EXAMPLES))
    assert got == expected
    assert text in details


def test_method_names_are_checked_where_asked_for(serve, written, tmp_path):
    def make_methodless(meta_graph):
        meta_graph.signature_def["two_outputs"].method_name = "other"

    publish(written["half_2"], tmp_path / "half", 1)
    edit(tmp_path / "half" / "1", make_methodless)
    client = serve(tmp_path / "half", model_name="half", enable_signature_method_name_check=True)
    x = {"x": np.float32([[2.0]])}
    assert client.predict("half", x).outputs["y"].float_val == [3]
    got, text = refused(client.predict, "half", x, "two_outputs")
    assert got == code.INTERNAL
    assert text.startswith("Expected prediction signature method_name to be one of {tensorflow/serving/predict, ")
    got, text = refused(client.predictions.Regress, regress_request("half", EXAMPLES, "classify_scores"))
    assert got == code.INVALID_ARGUMENT
    assert text == f"Expected regression signature method_name to be {REGRESS}. Was: {CLASSIFY}"


def test_the_dtype_of_the_graph_counts_not_the_declared_one(kind, written, tmp_path):
    """TensorFlow Serving's own `half_plus_three` declares float where its graph reads serialized examples."""
    publish(written["half_3"], tmp_path / "half_plus_three", 1)
    declare(
        tmp_path / "half_plus_three" / "1",
        regress__inputs="float32",
        classify__inputs="float32",
        classify__scores="float64",
        serving_default__x="int32",
        serving_default__y="float64",
    )
    flags = {"model_base_path": tmp_path / "half_plus_three", "model_name": "half_plus_three"}
    path = "/v1/models/half_plus_three"
    with serving_rest(kind, **flags) as address:
        body = {"signature_name": "regress", "examples": [{"x": 1.0}, {"x": 2.0}]}
        status, _, content = call(address, "POST", f"{path}:regress", body)
        assert (status, json.loads(content)) == (200, {"results": [3.5, 4.0]})
        status, _, content = call(address, "POST", f"{path}:predict", {"instances": [1]})  # read as declared
        assert (status, json.loads(content)["error"]) == (
            400,
            "Expects arg[0] to be float but int32 is provided",
        )
    with calls.serving(kind, **flags) as client:
        tasks = [("half_plus_three", "regress", REGRESS), ("half_plus_three", "classify", CLASSIFY)]
        regression, classification = client.predictions.MultiInference(multi_request(tasks, EXAMPLES)).results
        assert [each.value for each in regression.regression_result.regressions] == [3.5, 4.5]
        assert classification.classification_result.classifications[0].classes[0].score == 3.5
        answer = client.predict("half_plus_three", {"x": np.float32([[1], [2]])}).outputs["y"]
        assert (answer.dtype, list(answer.float_val)) == (1, [3.5, 4])
        refusal = refused(client.predict, "half_plus_three", {"x": np.int32([[1]])})
        assert refusal == (code.INVALID_ARGUMENT, "Expects arg[0] to be float but int32 is provided")
