"""A training in a process of its own, for tests that kill it or need other devices.

`python run_training.py CONFIG RUN_DIR [--resume] [--cpus N] [--kill-at EPOCH STEP] [--set key=value …]`
"""

import argparse
import os
import signal

import vl_keras  # noqa: F401  selects Keras 2 before TensorFlow is imported

import tensorflow as tf  # isort: skip


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("config")
    parser.add_argument("run_dir")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--kill-at", type=int, nargs=2)
    parser.add_argument("--signal", type=int, default=signal.SIGKILL)
    parser.add_argument("--set", nargs="*", default=[], dest="overrides")
    options = parser.parse_args()
    if options.cpus > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * options.cpus)

    from vl_keras.config import load_config
    from vl_keras.training import fit_phase as phase
    from vl_keras.training.train import train

    if options.kill_at:
        epoch, step = options.kill_at
        own = phase.Progress.to

        def to(self, done, note=None):
            own(self, done, note)
            if self.name.endswith(f"epoch {epoch}/{config.training.epochs}") and done == step:
                os.kill(os.getpid(), options.signal)

        phase.Progress.to = to
    config = load_config(options.config, options.overrides)
    train(config, options.run_dir, resume=options.resume)


if __name__ == "__main__":
    main()
