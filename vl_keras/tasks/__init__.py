"""Whole jobs by their configured name: a task knows its data, its model, its loss and its measures."""

from vl_keras.tasks.captioning import CaptioningTask

TASKS = {"captioning": CaptioningTask}
