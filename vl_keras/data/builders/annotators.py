"""Several people's answers to one question, in the one `answer` of a question row: a line each."""


def join_annotators(answers):
    """The `answer` of a question row from the answers of all its annotators, in order."""
    return "\n".join(answer.replace("\n", " ").replace("\t", " ").strip() for answer in answers)


def annotators(answer):
    """The answers of a question's annotators, from its row's `answer`: one for most datasets, none where it is ""."""
    return answer.split("\n") if answer else []
