"""A local server that speaks TensorFlow Serving's gRPC and REST."""
