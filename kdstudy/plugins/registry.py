"""The registries of plug-ins: names, lazy loading, and options read from signatures.

A plug-in is a class or function named by a lazy string, so that listing names imports nothing heavy. Its
**keyword-only arguments are its options**: their names, annotations and defaults are what a study file may set.
A study file may also name a plug-in of the user's own as ``package.module:Name``, if the user allows its package
(`kdstudy.plugins.trust`).
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kdstudy.errors import PluginError, did_you_mean
from kdstudy.plugins.import_faults import namesake, reason, remedy
from kdstudy.plugins.options import Option, declaration, given_to, options_of, plain_arguments, require_callable
from kdstudy.plugins.trust import require_allowed

_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


class Registry:
    """Names of one kind of plug-in.

    Args:
        kind: What a user calls it, singular: ``transfer``, ``model``.
        entries: Name to ``module:attribute``.
        passed: Names of the arguments that every plug-in is called with, in order, beside its options.
        offered: Names of those that it is called with if it takes them.
        fewer: Whether a plug-in may take only some of ``passed``, by their names; see `call`.
    """

    def __init__(
        self,
        kind: str,
        entries: Mapping[str, str],
        passed: Sequence[str] = (),
        offered: Sequence[str] = (),
        *,
        fewer: bool = False,
    ) -> None:
        self.kind = kind
        self._entries = dict(entries)
        self._passed, self._offered, self._fewer = tuple(passed), tuple(offered), fewer

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
            PluginError: No plug-in of that name, its package was not allowed, its module or attribute cannot be found,
                or the module of a user's raises.
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
            module = importlib.import_module(module_name)
            return getattr(module, attribute)
        except (Exception, SystemExit) as error:
            if name in self._entries:
                raise
            raise PluginError(
                f"{self.kind}: '{name}' cannot be loaded ({reason(error)}); "
                f"{namesake(sys.modules.get(module_name), name) or remedy(error, name)}"
            ) from error

    def call(self, name: str, *values: Any, options: Mapping[str, Any]) -> Any:
        """Call a plug-in that may take only some of what is passed, and return what it makes.

        Args:
            name: As for `load`.
            values: Of ``passed``, in order.
            options: By name.
        """
        plugin = self.load(name)
        positional, named = given_to(plugin, dict(zip(self._passed, values, strict=True)))
        return plugin(*positional, **named, **options)

    def takes(self, name: str, argument: str) -> bool:
        """Return whether a plug-in that may take only some of what is passed takes this."""
        positional, named = given_to(self.load(name), dict.fromkeys(self._passed))
        return bool(positional) or argument in named

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
            PluginError: As `load`; it is neither class nor function, its annotations cannot be read, or it asks for
                arguments that kdstudy does not pass.
        """
        plugin = self.load(name)
        if not callable(plugin):
            told = f"{self.kind}: must name a class or function, got {json.dumps(name)}"
            raise PluginError(f"{told}; {self.suggest(name)}")
        try:
            found = options_of(plugin)
            passed, named = self._passed, dict[str, Any]()
            if self._fewer:
                passed, named = given_to(plugin, dict.fromkeys(self._passed))
            require_callable(plugin, passed, (*self._offered, *named), found)
        except TypeError as error:
            called = f"{name.rpartition(':')[2]}({', '.join((*self._passed, '*', 'options'))})"
            raise PluginError(
                f"{self.kind}: '{name}' cannot be called as {called} ({error}); options are keyword-only arguments, "
                "such as `*, width: int = 16`"
            ) from error
        return found

    def advice(self, name: str, option: str) -> str:
        """Return what to do about an option that plug-in ``name`` does not have, to end a message."""
        known = self.options(name)
        if ":" not in name:
            return did_you_mean(option, known)
        plain = plain_arguments(self.load(name))
        plain = [each for each in plain if each.name not in self._passed] if self._fewer else plain[len(self._passed) :]
        parameter = next((each for each in plain if each.name == option), None)
        if parameter is not None:
            return (
                f"'{option}' is an argument of it, but options are keyword-only: put it after a `*`, as in "
                f"`*, {declaration(option, parameter.default)}`"
            )
        nearest = did_you_mean(option, known) if known else "it has none"
        return f"{nearest} (options are keyword-only arguments, such as `*, {declaration(option)}`)"


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
    passed=("context",),
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
        "lag": "kdstudy.layerwise.lag:LagPolicy",
        "progress": "kdstudy.layerwise.progress:ProgressPolicy",
        "trust": "kdstudy.layerwise.trust:TrustPolicy",
    },
    passed=("layers",),
    offered=("seed", "parameters"),
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
        "torchvision": "kdstudy.models.named:torchvision",
        "timm": "kdstudy.models.named:timm",
        "tv_resnet18": "kdstudy.models.torchvision_models:resnet18",
        "tv_resnet34": "kdstudy.models.torchvision_models:resnet34",
        "tv_resnet50": "kdstudy.models.torchvision_models:resnet50",
        "tv_densenet121": "kdstudy.models.torchvision_models:densenet121",
        "tv_mobilenet_v2": "kdstudy.models.torchvision_models:mobilenet_v2",
        "tv_mobilenet_v3_small": "kdstudy.models.torchvision_models:mobilenet_v3_small",
        "tv_shufflenet_v2_x1_0": "kdstudy.models.torchvision_models:shufflenet_v2_x1_0",
        "tv_efficientnet_b0": "kdstudy.models.torchvision_models:efficientnet_b0",
    },
    passed=("num_classes", "in_channels"),
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
        "huggingface": "kdstudy.data.huggingface:load",
    },
    passed=("root", "download"),
    fewer=True,
)

AUGMENTATIONS = Registry(
    "augmentation",
    {
        "random_resized_crop": "kdstudy.data.transforms:random_resized_crop",
        "random_crop": "kdstudy.data.transforms:random_crop",
        "flip": "kdstudy.data.transforms:flip",
        "rand_augment": "kdstudy.data.transforms:rand_augment",
        "trivial_augment_wide": "kdstudy.data.transforms:trivial_augment_wide",
        "color_jitter": "kdstudy.data.transforms:color_jitter",
        "random_erasing": "kdstudy.data.transforms:random_erasing",
    },
    offered=("size", "mean"),
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
    passed=("progress", "epochs"),
)

OPTIMIZERS = Registry(
    "optimizer",
    {
        "sgd": "kdstudy.training.optimizer:sgd",
        "adamw": "kdstudy.training.optimizer:adamw",
    },
    passed=("groups", "lr", "weight_decay", "momentum", "nesterov", "kernels"),
    fewer=True,
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
