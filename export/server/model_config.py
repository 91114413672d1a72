"""Reads and checks a `ModelServerConfig`, like TensorFlow Serving."""

import os
import re
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from export.server.serving_error import ServingError

PLATFORM = "tensorflow"


@dataclass(frozen=True)
class ModelConfig:
    """One model of the configuration.

    Attributes:
        name: name in requests.
        base_path: folder with one folder per version.
        policy: `"latest"`, `"all"` or `"specific"`.
        num_versions: number of versions for the policy `"latest"`.
        versions: the versions for the policy `"specific"`.
        labels: label -> version.
    """

    name: str
    base_path: str
    policy: str = "latest"
    num_versions: int = 1
    versions: frozenset[int] = frozenset()
    labels: dict[str, int] = field(default_factory=dict)

    def wanted(self, present: Iterable[int]) -> set[int]:
        """The versions to serve, of those present in the folder."""
        if self.policy == "all":
            return set(present)
        if self.policy == "specific":
            return set(self.versions & set(present))
        return set(sorted(present)[-self.num_versions :])


def single_model_config(name: str, base_path: str) -> model_server_config_pb2.ModelServerConfig:
    """The `ModelServerConfig` of `--model_name` and `--model_base_path`: one model, latest version."""
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.config.add(name=name, base_path=os.path.abspath(base_path), model_platform=PLATFORM)
    return config


def parse_models(config: model_server_config_pb2.ModelServerConfig) -> dict[str, ModelConfig]:
    """The models of a `ModelServerConfig`: dict of name -> `ModelConfig`.

    Raises:
        ServingError: INVALID_ARGUMENT; the configuration is invalid.
    """
    models = {}
    for each in config.model_config_list.config:
        if each.name in models:
            raise _invalid(f"Illegal to list model {each.name} multiple times in config list")
        if not os.path.isabs(each.base_path) and not re.match(r"[a-z][a-z0-9+.-]*://", each.base_path, re.IGNORECASE):
            raise _invalid(
                f"Expected model {each.name} to have an absolute path or URI; got base_path()={each.base_path}"
            )
        models[each.name] = _model(each)
    return models


def check_platforms(models: Container[str], config: model_server_config_pb2.ModelServerConfig) -> None:
    """Checks that every model has the platform TensorFlow.

    Args:
        models: the current models, by name.
        config: the new `ModelServerConfig`.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    for known in (True, False):  # known models are checked first, whatever the order of the list
        for each in config.model_config_list.config:
            if (each.name in models) != known:
                continue
            platform = _platform(each)
            if known and platform != PLATFORM:
                raise _invalid(
                    f"Illegal to change a model's platform. For model {each.name} platform was {PLATFORM} and new "
                    f"platform requested is {platform}"
                )
            if platform != PLATFORM:
                raise _invalid(f"Model {each.name} requests unsupported platform {platform}")


def _platform(each: Any) -> str:
    if each.model_type != model_server_config_pb2.MODEL_TYPE_UNSPECIFIED:
        if each.model_platform:
            raise _invalid(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform."
            )
        if each.model_type == model_server_config_pb2.TENSORFLOW:
            return PLATFORM
        raise _invalid(f"ModelServerConfig::model_type choice {each.model_type} not supported.")
    if not each.model_platform:
        raise _invalid(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform."
        )
    return each.model_platform


def _model(each: Any) -> ModelConfig:
    policy = each.model_version_policy
    chosen = policy.WhichOneof("policy_choice") or "latest"
    if chosen not in ("latest", "all", "specific"):
        raise _invalid(f"Unhandled servable version_policy: {text_format.MessageToString(policy, as_one_line=True)}")
    path = each.base_path.removeprefix("file://")
    return ModelConfig(
        name=each.name,
        base_path=path,
        policy=chosen,
        num_versions=max(1, policy.latest.num_versions),
        versions=frozenset(policy.specific.versions),
        labels=dict(each.version_labels),
    )


def _invalid(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)
