"""What the front ends, gRPC and REST, call."""


class ServerCore:
    """The served models, and every call of TensorFlow Serving's APIs on them, free of any transport.

    Attributes:
        metrics: `Metrics` that the front ends report to.
    """

    def __init__(self, metrics):
        self.metrics = metrics

    def servable(self, model_spec):
        """Context manager that gives the `Servable` a `ModelSpec` means and keeps it loaded meanwhile.

        Raises:
            ServingError: no name, unknown model, version or label.
        """
        raise NotImplementedError

    async def classify(self, servable, signature_name, examples, deadline=None):
        """`ClassificationResult` of serialized `tf.train.Example`s (a list of bytes)."""
        raise NotImplementedError

    async def regress(self, servable, signature_name, examples, deadline=None):
        """`RegressionResult` of serialized `tf.train.Example`s (a list of bytes)."""
        raise NotImplementedError

    def model_status(self, model_spec):
        """`GetModelStatusResponse`."""
        raise NotImplementedError

    def metadata(self, request):
        """`GetModelMetadataResponse` to a `GetModelMetadataRequest`."""
        raise NotImplementedError

    async def reload(self, request):
        """`ReloadConfigResponse` to a `ReloadConfigRequest`, after the new models are available."""
        raise NotImplementedError
