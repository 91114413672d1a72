"""A client for served models over gRPC or REST. It does not need TensorFlow."""

from export.client.async_client import AsyncClient
from export.client.call_error import CallError
from export.client.client import Client
from export.client.results import (
    Answer,
    Candidates,
    Caption,
    Embedding,
    Explanation,
    Match,
    Signature,
    VersionStatus,
)

__all__ = [
    "Answer",
    "AsyncClient",
    "CallError",
    "Candidates",
    "Caption",
    "Client",
    "Embedding",
    "Explanation",
    "Match",
    "Signature",
    "VersionStatus",
]
