"""Settings of an experiment: what there is, what each may be, and how they are read."""

from vl_keras.config.keys import values_of
from vl_keras.config.loader import as_override, config_from_dict, config_to_dict, load_config, save_config
from vl_keras.config.rules import check_config
from vl_keras.config.schema import (
    AugmentConfig,
    Config,
    DataConfig,
    GenerationConfig,
    ImageEncoderConfig,
    ModelConfig,
    SelfCriticalConfig,
    ShapesConfig,
    TextConfig,
    TextEncoderConfig,
    TrainingConfig,
    WordVectorsConfig,
)
from vl_keras.errors import ConfigError

__all__ = [
    "AugmentConfig",
    "Config",
    "ConfigError",
    "DataConfig",
    "GenerationConfig",
    "ImageEncoderConfig",
    "ModelConfig",
    "SelfCriticalConfig",
    "ShapesConfig",
    "TextConfig",
    "TextEncoderConfig",
    "TrainingConfig",
    "WordVectorsConfig",
    "as_override",
    "check_config",
    "config_from_dict",
    "config_to_dict",
    "load_config",
    "save_config",
    "values_of",
]
