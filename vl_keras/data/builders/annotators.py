"""The answers of several annotators to one question, one a line, in the `answer` of a question row."""

from collections.abc import Iterable


def join_annotators(answers: Iterable[str]) -> str:
    """Joins the answers of all annotators, in order, to the `answer` of a question row."""
    return "\n".join(answer.replace("\n", " ").replace("\t", " ").strip() for answer in answers)


def annotators(answer: str) -> list[str]:
    """Splits the `answer` of a question row into the annotators' answers; most datasets have one, and "" has none."""
    return answer.split("\n") if answer else []
