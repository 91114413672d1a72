"""A local server with the gRPC and REST APIs of TensorFlow Serving."""
