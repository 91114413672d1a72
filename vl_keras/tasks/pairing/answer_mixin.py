"""What the tasks that answer questions about images share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from vl_keras.tasks.task import Evaluation, TextInput


class AnswerMixin:
    """Reads questions and scores answers. A task that uses it also has `score_split`, `signature` and `fitted`."""

    returns: ClassVar[tuple[str, ...]] = ("answer", "score", "answers", "scores")
    monitor = "accuracy"
    reads = "questions with answers"
    signature_name = "answer"
    inputs: ClassVar[tuple[TextInput, ...]] = (
        TextInput("question", "question about every image", many=True, required=True),
    )
    threshold = 0.0  # an answer with a lower confidence is withheld

    # What the task has that uses this class.
    source: Callable[[str], Any]
    score_split: Callable[..., tuple[dict[str, float], list[Any]]]
    signature: Callable[..., dict[str, Any]]

    def has_examples(self, split: str) -> bool:
        from vl_keras.tasks.pairing.answers import asked_questions

        return bool(asked_questions(self.source(split)))

    def texts(self, split: str) -> list[list[str]]:
        return [[question["question"] for question in questions] for questions in self.source(split).questions]

    def use_metrics(self, metrics: Mapping[str, float]) -> None:
        self.threshold = metrics.get("threshold", 0.0)

    def epoch_metrics(
        self,
        model: Any,
        split: str,
        limit: int = 0,
        progress: Callable[[int], None] | None = None,
        weights: str = "",
    ) -> tuple[dict[str, float], dict[str, Any]]:
        metrics, answers = self.score_split(model, split, limit, progress, fit=True)
        return metrics, self.signature(answers, split, weights)

    def evaluate(self, model: Any, request: Evaluation) -> dict[str, Any]:
        from vl_keras.tasks.pairing.evaluate_answers import evaluate_answers

        return evaluate_answers(self, model, request)

    def describe(self, output: Mapping[str, Any]) -> str:
        if not output["answer"]:
            return f"no answer ({output['answers'][0]} {output['score']:.2f})"
        return f"{output['answer']} ({output['score']:.2f})"
