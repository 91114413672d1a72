"""The weights of an ensemble of captioners, from those of its members."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vl_keras.models.captioner import Captioner
    from vl_keras.tasks.captioning import CaptioningTask
    from vl_keras.tasks.task import Task


def join_captioners(task: CaptioningTask, captioner: Captioner, members: Sequence[tuple[Task, Captioner]]) -> None:
    """Fills a captioner of several members with their weights; the encoders' weights are those of the first member.

    Args:
        task: of the ensemble.
        captioner: what this task built.
        members: the task and the captioner of each member, with equal encoders.
    """
    first_task, first = members[0]
    captioner.image_encoder.set_weights(first.image_encoder.get_weights())
    if task.text_encoder is not None:
        task.text_encoder.model.set_weights(first_task.text_encoder.model.get_weights())
    for number, (member_task, member) in enumerate(members):
        shared = [] if member_task.text_encoder is None else member_task.text_encoder.model.weights
        ids = {id(weight) for weight in shared}
        own = [weight.numpy() for weight in member.reader.weights if id(weight) not in ids]
        captioner.reader.get_layer(f"reader_{number}").set_weights(own)
        captioner.decoder.members[number].model.set_weights(member.decoder.model.get_weights())
