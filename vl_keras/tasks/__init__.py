"""The tasks by their names in configs; a task owns its data, model, loss, metrics and predictions."""

from vl_keras.tasks.captioning import CaptioningTask
from vl_keras.tasks.free_form_vqa import FreeFormVqaTask
from vl_keras.tasks.matching import MatchingTask
from vl_keras.tasks.retrieval import RetrievalTask
from vl_keras.tasks.vqa import VqaTask

TASKS = {
    "captioning": CaptioningTask,
    "vqa": VqaTask,
    "free_form_vqa": FreeFormVqaTask,
    "matching": MatchingTask,
    "retrieval": RetrievalTask,
}
