"""Studies: the study file, its checks, and the configuration of one trial."""

from kdstudy.study.config import (
    CacheConfig,
    ConfirmConfig,
    DataConfig,
    NumericsConfig,
    PluginSpec,
    ResourcesConfig,
    SearchConfig,
    StudentConfig,
    TeacherConfig,
    TrainConfig,
)
from kdstudy.study.load import load_study, parse_study
from kdstudy.study.study import Arm, Study
from kdstudy.study.trial import TrialConfig

__all__ = [
    "Arm",
    "CacheConfig",
    "ConfirmConfig",
    "DataConfig",
    "NumericsConfig",
    "PluginSpec",
    "ResourcesConfig",
    "SearchConfig",
    "StudentConfig",
    "Study",
    "TeacherConfig",
    "TrainConfig",
    "TrialConfig",
    "load_study",
    "parse_study",
]
