"""Counts and times of requests, in Prometheus text."""


class Metrics:
    """What the front ends report to, and what the monitoring path shows."""

    def observe(self, model, api, entrypoint, status_code_name, seconds):
        """Counts one answered request.

        Args:
            model: name of the model, as the request gave it.
            api: `Predict`, `Classify`, `Regress`, ….
            entrypoint: `GRPC` or `REST`.
            status_code_name: of `grpc.StatusCode`, e.g. `OK`.
            seconds: it took.
        """
        raise NotImplementedError

    def text(self):
        """Everything in Prometheus' text format, as bytes."""
        raise NotImplementedError
