"""The registries of plug-ins: names, lazy loading, and options read from signatures.

A plug-in is a class or function named by a lazy string, so that listing names imports nothing heavy. Its
**keyword-only arguments are its options**: their names, annotations and defaults are what a study file may set.
A study file may also name a plug-in of the user's own as ``package.module:Name``, if the user allows its package
(`kdstudy.plugins.trust`).
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kdstudy.errors import PluginError, did_you_mean
from kdstudy.plugins.trust import place_told, require_allowed

_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class Earlier:
    """Marks an option, in its ``Annotated``, that study files of earlier versions wrote in another way.

    Records keep what was written, and the plug-in still takes it; a new study file is refused.

    Args:
        annotation: Type of the values of then. None of them may be one of today's.
        default: What a study file of then that was silent got.
        instead: What to write today, for the message: ``write layers or off``.
    """

    annotation: Any
    default: Any
    instead: str


@dataclass(frozen=True)
class Option:
    """One keyword-only argument of a plug-in.

    Args:
        name: As written in the study file.
        annotation: The type, ``Annotated`` bounds included.
        default: The value taken when the study file is silent; ``inspect.Parameter.empty`` if it may not be.
    """

    name: str
    annotation: Any
    default: Any

    @property
    def earlier(self) -> Earlier | None:
        """How earlier versions wrote it, if in another way."""
        marks = getattr(self.annotation, "__metadata__", ())
        return next((mark for mark in marks if isinstance(mark, Earlier)), None)

    @property
    def required(self) -> bool:
        """Whether the study file must set it."""
        return self.default is inspect.Parameter.empty


class Registry:
    """Names of one kind of plug-in.

    Args:
        kind: What a user calls it, singular: ``transfer``, ``model``.
        entries: Name to ``module:attribute``.
    """

    def __init__(self, kind: str, entries: Mapping[str, str]) -> None:
        self.kind = kind
        self._entries = dict(entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries or (isinstance(name, str) and ":" in name)

    def suggest(self, name: str) -> str:
        """Return what to do about an unknown name: the nearest one, or all of them."""
        return did_you_mean(name, self._entries)

    def load(self, name: str) -> Any:
        """Import and return the plug-in called ``name``.

        Raises:
            PluginError: No plug-in of that name, its package was not allowed, or its module or attribute cannot be
                found.
        """
        target = self._entries.get(name, name)
        if ":" not in target:
            raise PluginError(f"{self.kind}: no {self.kind} is called '{name}'; {self.suggest(name)}")
        module_name, _, attribute = target.partition(":")
        if not _TARGET.fullmatch(target):
            told = f"{self.kind}: must be a name or package.module:Name, got {json.dumps(name)}"
            raise PluginError(f"{told}; {self.suggest(name)}")
        if name not in self._entries and not self._is_ours(module_name, attribute):
            require_allowed(self.kind, name)
        try:
            return getattr(importlib.import_module(module_name), attribute)
        except (Exception, SystemExit) as error:
            if name in self._entries:
                raise
            raise PluginError(
                f"{self.kind}: '{name}' cannot be loaded ({_reason(error)}); {_remedy(error, name)}"
            ) from error

    def _is_ours(self, module_name: str, attribute: str) -> bool:
        """Whether it is a public class or function of a module that holds registered plug-ins of this kind."""
        if attribute.startswith("_") or module_name not in {
            entry.partition(":")[0] for entry in self._entries.values()
        }:
            return False
        found = getattr(importlib.import_module(module_name), attribute, None)
        return found is None or getattr(found, "__module__", None) == module_name

    def options(self, name: str) -> dict[str, Option]:
        """Return the options of plug-in ``name``: its keyword-only arguments.

        Those of a class that ends its arguments in ``**options`` come after those of the class it derives from.

        Raises:
            PluginError: As `load`, or it is neither class nor function.
        """
        plugin = self.load(name)
        if not callable(plugin):
            told = f"{self.kind}: must name a class or function, got {json.dumps(name)}"
            raise PluginError(f"{told}; {self.suggest(name)}")
        found: dict[str, Option] = {}
        for target in _initialisers(plugin) if inspect.isclass(plugin) else (plugin,):
            hints = typing.get_type_hints(target, include_extras=True)
            own = {
                parameter.name: Option(parameter.name, hints.get(parameter.name, Any), parameter.default)
                for parameter in inspect.signature(target).parameters.values()
                if parameter.kind is inspect.Parameter.KEYWORD_ONLY
            }
            found = {**own, **found}
        return found


def _reason(error: BaseException) -> str:
    """Return what a module of somebody else's raised when it was imported, on one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: {text}"


def _remedy(error: BaseException, name: str) -> str:
    if isinstance(error, ModuleNotFoundError):
        place = place_told(name.partition(":")[0].partition(".")[0])
        return f"install it, or name its file: --allow-plugin {place or 'DIR/MODULE.py'}"
    if isinstance(error, ImportError | AttributeError):
        return "write package.module:Name of something importable here"
    return "mend its module (--debug shows where it was raised)"


def _initialisers(plugin: type) -> Iterator[Any]:
    """Yield what takes a class's arguments: its ``__init__``, and the next one's while ``**options`` are passed on."""
    for owner in plugin.__mro__:
        if "__init__" in vars(owner):
            yield vars(owner)["__init__"]
            parameters = inspect.signature(vars(owner)["__init__"]).parameters.values()
            if not any(
                parameter.name == "options" and parameter.kind is parameter.VAR_KEYWORD for parameter in parameters
            ):
                return


TRANSFERS = Registry(
    "transfer",
    {
        "none": "kdstudy.transfer.none:NoTransfer",
        "kd": "kdstudy.transfer.kd:SoftTargetTransfer",
        "attention": "kdstudy.transfer.attention:AttentionTransfer",
        "jacobian": "kdstudy.transfer.jacobian:JacobianTransfer",
        "hessian": "kdstudy.transfer.hessian:HessianTransfer",
        "dkd": "kdstudy.transfer.dkd:DecoupledTransfer",
        "fitnet": "kdstudy.transfer.fitnet:HintTransfer",
        "sp": "kdstudy.transfer.sp:SimilarityTransfer",
        "rkd": "kdstudy.transfer.rkd:RelationalTransfer",
        "pkt": "kdstudy.transfer.pkt:ProbabilisticTransfer",
        "vid": "kdstudy.transfer.vid:VariationalTransfer",
        "reviewkd": "kdstudy.transfer.reviewkd:ReviewTransfer",
        "crd": "kdstudy.transfer.crd:ContrastiveTransfer",
    },
)

POLICIES = Registry(
    "policy",
    {
        "constant": "kdstudy.layerwise.constant:ConstantPolicy",
        "layerwise": "kdstudy.layerwise.controller:LayerwisePolicy",
        "decay": "kdstudy.layerwise.decay:DecayPolicy",
        "walk": "kdstudy.layerwise.shuffled:WalkPolicy",
        "replay": "kdstudy.layerwise.replay:ReplayPolicy",
        "placebo": "kdstudy.layerwise.placebo:PlaceboPolicy",
    },
)

MODELS = Registry(
    "model",
    {
        "resnet8": "kdstudy.models.resnet:resnet8",
        "resnet14": "kdstudy.models.resnet:resnet14",
        "resnet20": "kdstudy.models.resnet:resnet20",
        "resnet32": "kdstudy.models.resnet:resnet32",
        "resnet56": "kdstudy.models.resnet:resnet56",
        "resnet110": "kdstudy.models.resnet:resnet110",
        "resnet8x4": "kdstudy.models.resnet:resnet8x4",
        "resnet32x4": "kdstudy.models.resnet:resnet32x4",
        "wrn_16_1": "kdstudy.models.wide_resnet:wrn_16_1",
        "wrn_16_2": "kdstudy.models.wide_resnet:wrn_16_2",
        "wrn_40_1": "kdstudy.models.wide_resnet:wrn_40_1",
        "wrn_40_2": "kdstudy.models.wide_resnet:wrn_40_2",
        "vgg8": "kdstudy.models.vgg:vgg8",
        "vgg13": "kdstudy.models.vgg:vgg13",
        "mobilenetv2": "kdstudy.models.mobilenet:mobilenetv2",
        "shufflenetv1": "kdstudy.models.shufflenet:shufflenetv1",
        "shufflenetv2": "kdstudy.models.shufflenet:shufflenetv2",
        "tv_resnet18": "kdstudy.models.torchvision_models:resnet18",
        "tv_resnet34": "kdstudy.models.torchvision_models:resnet34",
        "tv_resnet50": "kdstudy.models.torchvision_models:resnet50",
        "tv_densenet121": "kdstudy.models.torchvision_models:densenet121",
        "tv_mobilenet_v2": "kdstudy.models.torchvision_models:mobilenet_v2",
        "tv_mobilenet_v3_small": "kdstudy.models.torchvision_models:mobilenet_v3_small",
        "tv_shufflenet_v2_x1_0": "kdstudy.models.torchvision_models:shufflenet_v2_x1_0",
        "tv_efficientnet_b0": "kdstudy.models.torchvision_models:efficientnet_b0",
    },
)

DATASETS = Registry(
    "data set",
    {
        "digits": "kdstudy.data.digits:load",
        "synthetic": "kdstudy.data.synthetic:load",
        "cifar10": "kdstudy.data.cifar:load_cifar10",
        "cifar100": "kdstudy.data.cifar:load_cifar100",
        "coco": "kdstudy.data.coco:load",
        "imagefolder": "kdstudy.data.imagefolder:load",
    },
)

SAMPLERS = Registry(
    "sampler",
    {
        "tpe": "kdstudy.search.samplers.tpe:TPESampler",
        "random": "kdstudy.search.samplers.random:RandomSampler",
        "grid": "kdstudy.search.samplers.grid:GridSampler",
        "cmaes": "kdstudy.search.samplers.cmaes:CmaEsSampler",
    },
)

SCHEDULES = Registry(
    "schedule",
    {
        "cosine": "kdstudy.training.schedule:cosine",
        "constant": "kdstudy.training.schedule:constant",
        "multistep": "kdstudy.training.schedule:multistep",
    },
)

PRUNERS = Registry(
    "pruner",
    {
        "none": "kdstudy.search.pruners.none:NoPruner",
        "asha": "kdstudy.search.pruners.asha:AshaPruner",
        "median": "kdstudy.search.pruners.median:MedianPruner",
        "patience": "kdstudy.search.pruners.patience:PatiencePruner",
    },
)
