"""Calls a served model, over gRPC or REST, without TensorFlow."""

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
