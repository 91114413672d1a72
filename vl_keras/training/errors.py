"""How a training run ends early."""


class TrainingError(RuntimeError):
    """Training cannot start or go on; the message says why and what to do. Checkpoints written before stay good."""


class TrainingStopped(SystemExit):
    """A signal asked training to stop; its state is saved and `resume` goes on from it.

    `code`, also the exit status of `vl-keras train`: 128 plus the signal's number, so 143 for SIGTERM and 130 for
    Ctrl-C.
    """
