"""Study files: read, validated and described to editors; the configuration of a study and of one trial."""

from kdstudy.study.arm_colours import arm_colours
from kdstudy.study.arm_id import ArmId
from kdstudy.study.coerce import check
from kdstudy.study.diagnostics import Place, Problems, show
from kdstudy.study.execution_schema import CacheConfig, CacheMode, NumericsConfig, ResourcesConfig
from kdstudy.study.json_schema import SCHEMA_FILE, json_schema
from kdstudy.study.load import load_study, parse_study, problems_of, study_of
from kdstudy.study.method import Method, method_of
from kdstudy.study.other_names import key_paths
from kdstudy.study.own_files import is_file_name
from kdstudy.study.paths import flatten
from kdstudy.study.plugin_spec import PluginSpec
from kdstudy.study.schema import DataConfig, StudentConfig, TeacherConfig, TrainConfig
from kdstudy.study.search_schema import MAX_LOOKS, MAX_SEARCHES, MIN_SEARCHES, ConfirmConfig, SearchConfig
from kdstudy.study.space import Choice, Int, Log, Range, Uniform
from kdstudy.study.study import Arm, Study, require_plugins
from kdstudy.study.trial_config import TrialConfig
from kdstudy.study.validate import Reader
from kdstudy.study.yaml_text import flow_text, parse_text

__all__ = [
    "MAX_LOOKS",
    "MAX_SEARCHES",
    "MIN_SEARCHES",
    "SCHEMA_FILE",
    "Arm",
    "ArmId",
    "CacheConfig",
    "CacheMode",
    "Choice",
    "ConfirmConfig",
    "DataConfig",
    "Int",
    "Log",
    "Method",
    "NumericsConfig",
    "Place",
    "PluginSpec",
    "Problems",
    "Range",
    "Reader",
    "ResourcesConfig",
    "SearchConfig",
    "StudentConfig",
    "Study",
    "TeacherConfig",
    "TrainConfig",
    "TrialConfig",
    "Uniform",
    "arm_colours",
    "check",
    "flatten",
    "flow_text",
    "is_file_name",
    "json_schema",
    "key_paths",
    "load_study",
    "method_of",
    "parse_study",
    "parse_text",
    "problems_of",
    "require_plugins",
    "show",
    "study_of",
]
