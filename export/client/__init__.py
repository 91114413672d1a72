"""Calls a served model, over gRPC or REST, without TensorFlow."""

from export.client.async_client import AsyncClient
from export.client.call_error import CallError
from export.client.client import Client
from export.client.results import Candidates, Caption, Embedding, Explanation, Signature, VersionStatus

__all__ = [
    "AsyncClient",
    "CallError",
    "Candidates",
    "Caption",
    "Client",
    "Embedding",
    "Explanation",
    "Signature",
    "VersionStatus",
]
