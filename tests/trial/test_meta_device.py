"""A whole trial on torch's `meta` device, as a GPU would run it, without one.

Tensors there have shapes and no contents, so whatever looks at one on the host raises. `Watch` also refuses what a GPU
would put up with and wait for: tensors of two devices in one operation, and copies that the host waits for. So: no step
waits for the device, no tensor is left behind, and what a step does depends on nothing that it computes.
"""

from __future__ import annotations

import copy
import functools
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import gelu, leaky_relu, relu6
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kdstudy.data import Dataset, eval_batches
from kdstudy.plugins import POLICIES, SCHEDULES, TRANSFERS
from kdstudy.results import EpochRecord
from kdstudy.study import CacheConfig, NumericsConfig, PluginSpec, StudentConfig, TrialConfig
from kdstudy.training import BatchShare, EpochTotals, ProbeResult, TeacherOutputs, evaluate
from kdstudy.training.norms import Norms
from kdstudy.transfer import MapTransfer, Observation
from kdstudy.transfer.autodiff import Dual
from kdstudy.transfer.kd import SoftTargetTransfer
from kdstudy.transfer.maps import resize
from kdstudy.trial import OutputsRecipe, run_trial
from kdstudy.trial.inputs import OwnInputs, SharedInputs
from kdstudy.trial.member import Member
from kdstudy.trial.pack import _train_a_step_at_once
from kdstudy.trial.run import TrialRun
from kdstudy.trial.teacher_cache.cached import CachedTeacherOutputs, CachedViews
from kdstudy.trial.teacher_cache.files import TensorFileCache
from kdstudy.trial.update import updated
from tests.configs import fresh_teacher, trial_config

META = torch.device("meta")
STEPS = 3
fresh = functools.cache(fresh_teacher)

# What cannot run on `meta`: why, and the words it stops with there. One that runs after all fails its test.
CANNOT: dict[str, tuple[str, NumericsConfig, str]] = {
    "a student in bfloat16": (
        "torch has no autocast for the device",
        NumericsConfig(student="bfloat16"),
        "autocast",
    ),
    "a folded teacher": (
        "whether it computes the same is looked at before the first epoch",
        NumericsConfig(teacher="folded"),
        r"item\(\)",
    ),
    "an optimizer of one kernel a layer": (
        "torch has it for devices that compute",
        NumericsConfig(optimizer="fused"),
        "fused",
    ),
    "a teacher in bfloat16": (
        "it is folded first",
        NumericsConfig(teacher="bfloat16"),
        r"item\(\)",
    ),
}
# What a trial reads of the device, and only outside the steps of an epoch: the function that reads, and what.
READS = {
    "MapTransfer.check": "whether a map was zero over a whole batch: after the first batch, and after an epoch",
    "EpochInProgress.totals": "the mean of each term, after an epoch",
    "LayerNorms.means": "norms of weights and gradients, after an epoch, for policies that follow them",
    "evaluate": "the scores, after the last batch of a split",
    "measure_divergence": "the divergences, once the maps of both networks are there",
    "add_tensor": "the teacher's weights, whose hash names the files of its cached outputs, before the first epoch",
}
read: set[str] = set()


class WaitsError(Exception):
    """A step would wait for the device, or mixes two."""


class NoConstants(TorchFunctionMode):
    """Refuses tensors made on the device of numbers of the host's: below, their copy is not seen."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func in {torch.tensor, torch.as_tensor, Tensor.new_tensor} and made.device == META:
            raise WaitsError(f"{func.__name__}: the host waits for the copy")
        return made


class Watch(TorchDispatchMode):
    """Refuses operations for which a step would wait; notes all others with the shapes of what they made."""

    def __init__(self) -> None:
        super().__init__()
        self._constants = NoConstants()
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __enter__(self) -> Watch:
        self._constants.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._constants.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        devices = {each.device.type for each in given if each.device == META or each.dim()}  # a lone number may differ
        if len(devices) > 1:
            raise WaitsError(f"{func}: tensors of {' and '.join(sorted(devices))}")
        made = func(*args, **kwargs)
        shapes = tuple((tuple(each.shape), each.device.type) for each in tree_leaves(made) if isinstance(each, Tensor))
        moved = devices == {"cpu"} and any(device == "meta" for _, device in shapes)
        if moved and not kwargs.get("non_blocking"):
            raise WaitsError(f"{func}: the host waits for the copy of {shapes}")
        self.calls.append((str(func), shapes))
        return made


def small(transfer: str = "kd", policy: str = "constant", **options: Any) -> TrialConfig:
    """A trial of two epochs, of ``STEPS`` steps each."""
    config = trial_config(transfer, policy, epochs=2, **options)
    config = replace(config, data=replace(config.data, options={"count": 64}))
    return replace(config, train=replace(config.train, batch_size=16))


def begun(config: TrialConfig, inputs: OwnInputs | SharedInputs | None = None, **options: Any) -> TrialRun:
    """The trial on ``meta``; a map transfer takes its maps for looked at, as they are in the first batch."""
    run = TrialRun(config, inputs or OwnInputs(META), teacher=copy.deepcopy(fresh()), **options)
    if isinstance(run.distiller.transfer, MapTransfer):
        run.distiller.transfer._looked = True
    return run


def epoch_of(run: TrialRun) -> list[Any]:
    """Train the steps of an epoch; return what each but the first did, which also moves the epoch's draws."""
    run.begin_epoch()
    assert run.step()
    seen = []
    while True:
        with Watch() as watch:
            if not run.step():
                return seen
        seen.append(watch.calls)


def end_epoch(run: TrialRun) -> None:
    """What follows an epoch's steps, with numbers made up for those that would have been read."""
    layers = run.policy.layers
    terms: dict[str, float | None] = dict.fromkeys(
        ["cross_entropy", *(f"own/{layer}" for layer in run.distiller.transfer.term_layers)], 1.0
    )
    norms = {layer: Norms(1.0, 0.5 + place) for place, layer in enumerate(layers)}
    totals = EpochTotals(1.0, terms, rate=0.1, rates={}, norms=norms)
    epoch = len(run.history) + 1
    if run.probe is not None and run.policy.due(epoch, run.config.train.epochs):
        found = ProbeResult([0.1 * (1 + place) for place in range(len(layers))], [0.5] * len(layers))
        updated(run.policy, found, totals, terms, run.config.train.weight_decay)
    run.history.append(
        EpochRecord(epoch, 1.0, terms, val=0.5, val_loss=1.0, rate=0.1, rates={}, layers=(), seconds=0.0)
    )


def reads_in(call: Callable[[], object]) -> str:
    """Return the function of ours in which the host wants to know what is on the device."""
    with pytest.raises((RuntimeError, NotImplementedError), match=r"meta tensor|nonzero") as caught:
        call()
    ours = [frame for frame, _ in traceback.walk_tb(caught.tb) if "/kdstudy/" in frame.f_code.co_filename]
    found = ours[-1].f_code.co_qualname.partition(".<locals>")[0]
    read.add(found)
    return found


def trained(config: TrialConfig, inputs: OwnInputs | None = None, **options: Any) -> TrialRun:
    """Train an epoch, every step of which does the same, and another after an update; between them `READS` may look."""
    run = begun(config, inputs, **options)
    try:
        all_alike(epoch_of(run))
        maps = isinstance(run.distiller.transfer, MapTransfer)
        assert reads_in(run.end_epoch) == ("MapTransfer.check" if maps else "EpochInProgress.totals")
        if run.probe is not None and run.teacher is not None:
            student, teacher = run.student, run.teacher
            assert reads_in(lambda: run.probe and run.probe.measure(student, teacher)) == "measure_divergence"
            if run.policy.needs_norms:
                assert reads_in(run.distiller.norms) == "LayerNorms.means"
            end_epoch(run)
            all_alike(epoch_of(run))
    finally:
        run.close()
    return run


def all_alike(steps: list[Any]) -> None:
    assert len(steps) == STEPS - 1
    assert all(calls == steps[0] for calls in steps), "a step depends on what it computes"


FORMS = (
    *("{attention: {p: 3, kd_weight: 0.5}}", "{dkd: {warmup: 1}}", "{reviewkd: {warmup: 1}}"),
    *(f"{{jacobian: {{form: {form}}}}}" for form in ("projection", "peak")),
    *("{jacobian: {normalise: teacher, fraction: 0.5}}", "{jacobian: {p: 3, normalise: sample}}"),
    *(f"{{jacobian: {{form: {form}, wrt: parameters}}}}" for form in ("projection", "peak")),
    *(f"{{hessian: {{form: {form}, fraction: 0.5}}}}" for form in ("tangent", "bilinear", "hvp", "hutchinson")),
    *("{fitnet: {at: all}}", "{vid: {at: last}}", "{sp: {at: all}}", "{crd: {negatives: 8}}"),
)


def slow(values: Iterable[str]) -> list[Any]:
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


@pytest.mark.parametrize("transfer", [*TRANSFERS, *slow(FORMS)])
def test_no_step_of_a_transfer_waits(transfer: str) -> None:
    trained(small(transfer))


@pytest.mark.parametrize("policy", list(POLICIES))
def test_no_step_under_a_policy_waits(policy: str) -> None:
    options = {
        "replay": "{multipliers: [[0.5, 1.0, 1.5]], probe_size: 16}",
        "layerwise": "{interval: 1, gain: 0.4, probe_size: 16}",
        "walk": "{interval: 1, gain: 0.4, probe_size: 16}",
        **dict.fromkeys(("lag", "progress", "trust"), "{interval: 1, probe_size: 16}"),
    }.get(policy)
    run = trained(small("attention", policy if options is None else f"{{{policy}: {options}}}"))
    assert (run.probe is not None) == (options is not None)


@pytest.mark.parametrize("map_name", ["jacobian", *slow(["attention", "hessian"])])
def test_no_probe_waits_for_its_maps(map_name: str) -> None:
    trained(small("fitnet", f"{{layerwise: {{interval: 1, gain: 0.4, probe_size: 16, map: {map_name}}}}}"))


OPTIMISERS = ({"nesterov": True}, {"momentum": 0.0}, {"weight_decay": 0.0})
ADAMW = {"optimizer": PluginSpec("adamw"), "warmup_epochs": 1, "clip_norm": 1.0, "label_smoothing": 0.1}


@pytest.mark.parametrize(("schedule", "optimiser"), list(zip(SCHEDULES, OPTIMISERS, strict=True)), ids=str)
def test_no_step_of_an_optimiser_waits(schedule: str, optimiser: dict[str, Any]) -> None:
    config = small("none")
    spec = PluginSpec(schedule, {"milestones": [1]} if schedule == "multistep" else {})
    trained(replace(config, train=replace(config.train, schedule=spec, **optimiser)))


@pytest.mark.parametrize("kernels", ["loop", "foreach"])
def test_no_step_of_adamw_with_all_that_goes_with_it_waits(kernels: str) -> None:
    config = small("attention", "{layerwise: {interval: 1, gain: 0.4, probe_size: 16}}")
    numerics = NumericsConfig(optimizer=kernels)  # type: ignore[arg-type]
    trained(replace(config, train=replace(config.train, **ADAMW), numerics=numerics))


@pytest.mark.parametrize("model", slow(["wrn_16_1", "vgg8", "mobilenetv2", "shufflenetv1", "shufflenetv2"]))
def test_no_step_of_a_network_waits(model: str) -> None:
    trained(replace(small("kd"), student=StudentConfig(PluginSpec(model))))


def test_no_step_in_another_memory_format_waits() -> None:
    trained(replace(small("attention"), numerics=NumericsConfig(memory_format="channels_last")))


def test_no_step_of_a_layer_at_once_waits() -> None:
    trained(replace(small("kd"), numerics=NumericsConfig(optimizer="foreach")))


@pytest.mark.parametrize("what", list(CANNOT))
def test_what_cannot_run_there_cannot(what: str) -> None:
    why, numerics, words = CANNOT[what]
    with pytest.raises(RuntimeError, match=words):
        trained(replace(small("attention"), numerics=numerics))
    assert why


class SeveralLabels(OwnInputs):
    """Data each of whose images may have several labels."""

    def dataset(self, config: TrialConfig, *, with_test: bool) -> Dataset:
        found = super().dataset(config, with_test=with_test)
        parts = {
            name: replace(split, labels=torch.zeros(len(split), found.num_classes, device=split.labels.device))
            for name, split in (("train", found.train), ("val", found.val))
        }
        return replace(found, multilabel=True, **parts)


@pytest.mark.parametrize("transfer", ["kd", *slow(["{attention: {kd_weight: 0.5}}", "crd"])])
def test_no_step_with_several_labels_waits(transfer: str) -> None:
    trained(small(transfer), SeveralLabels(META))


@pytest.mark.parametrize("inputs", [OwnInputs, SeveralLabels])
def test_scoring_waits_once_for_a_split(inputs: type[OwnInputs]) -> None:
    run = begun(small(), inputs(META))
    given = []

    def noted() -> Iterator[Any]:
        for batch in eval_batches(run.data.val, 4, META):
            given.append(batch)
            yield batch

    assert reads_in(lambda: evaluate(run.student.module, noted())) == "evaluate"
    assert sum(len(batch.labels) for batch in given) == len(run.data.val)


class Cached(OwnInputs):
    """What a trial on the CPU has kept of the teacher; its weights' hash, which names the files, is not to be had.

    Args:
        recipe: The other trial's.
        folder: Of the files.
    """

    def __init__(self, recipe: OutputsRecipe, folder: Path) -> None:
        super().__init__(META)
        self._files = TensorFileCache(folder, recipe.key(), recipe.config.cache.max_bytes)

    def teacher_outputs(
        self, recipe: OutputsRecipe, cache: Path | None, share: BatchShare | None = None
    ) -> TeacherOutputs:
        assert reads_in(recipe.key) == "add_tensor"
        live = super().teacher_outputs(recipe, None)
        if recipe.config.cache.mode == "all_views":
            return CachedViews(recipe, self._files, live)
        return CachedTeacherOutputs(recipe, self._files)


@pytest.mark.parametrize(
    ("mode", "transfer"),
    [
        *(("schedule", "jacobian"), ("views", "attention"), ("all_views", "kd")),
        *(pytest.param("schedule", name, marks=pytest.mark.slow) for name in ("kd", "attention")),
    ],
)
def test_no_step_with_cached_outputs_waits(mode: str, transfer: str, tmp_path: Path) -> None:
    config = small(transfer)
    config = replace(config, cache=CacheConfig(mode=mode, dtype="float16"))
    with_cpu = TrialRun(config, OwnInputs(), teacher=copy.deepcopy(fresh()), cache=tmp_path / "study")
    with_cpu.close()
    run_trial(config, lambda *_: None, teacher=copy.deepcopy(fresh()), cache=tmp_path / "study")
    assert with_cpu.recipe is not None
    assert list(tmp_path.rglob("*.safetensors")), "nothing was kept"
    trained(config, Cached(with_cpu.recipe, tmp_path / "study"))


@pytest.mark.parametrize("transfer", ["attention", *slow(["kd", "jacobian", "fitnet", "crd"])])
def test_no_step_of_a_pack_waits(transfer: str) -> None:
    inputs, teacher = SharedInputs(META), copy.deepcopy(fresh())
    configs = [small(transfer, base_lr=rate, init_seed=seed) for seed, rate in enumerate((0.1, 0.05, 0.02))]
    runs = [TrialRun(config, inputs, teacher=teacher) for config in configs]
    for run in runs:
        if isinstance(run.distiller.transfer, MapTransfer):
            run.distiller.transfer._looked = True
        run.begin_epoch()
    assert all(run.step() for run in runs)
    for _ in range(STEPS - 1):
        counts = []
        for run in runs:
            with Watch() as watch:
                assert run.step()
            counts.append(len(watch.calls))
        assert counts[1] == counts[2] < counts[0], "the first runs the teacher for all"
    assert not any(run.step() for run in runs)


@pytest.mark.parametrize("transfer", ["attention", *slow(["kd", "fitnet", "crd"])])
def test_no_step_of_students_at_once_waits(transfer: str) -> None:
    """Whether they may run at once is looked at before the first epoch, on the host."""
    inputs, teacher = SharedInputs(META), copy.deepcopy(fresh())
    configs = [small(transfer, base_lr=rate, init_seed=seed) for seed, rate in enumerate((0.1, 0.05))]
    members = [
        Member(0, functools.partial(TrialRun, each, inputs, teacher=teacher), print, alone=False) for each in configs
    ]
    for member in members:
        member.start()
        if isinstance(member.trial.distiller.transfer, MapTransfer):
            member.trial.distiller.transfer._looked = True
    _train_a_step_at_once(members)
    seen = []
    for _ in range(STEPS - 1):
        with Watch() as watch:
            _train_a_step_at_once(members)
        seen.append(watch.calls)
    all_alike(seen)
    assert all(member.active for member in members)


def test_the_first_batch_of_maps_is_looked_at() -> None:
    run = begun(small("attention"))
    run.distiller.transfer._looked = False
    run.begin_epoch()
    assert reads_in(run.step) == "MapTransfer.check"


@pytest.mark.parametrize("size", [(3, 3), (4, 2), (8, 8)])
def test_resizing_a_map_moves_nothing(size: tuple[int, int]) -> None:
    with Watch():
        assert resize(torch.empty(2, 8, 8, device=META), size).shape == (2, *size)


@pytest.mark.parametrize(
    ("function", "options"),
    [(leaky_relu, {}), (relu6, {}), (gelu, {}), (torch.clamp, {"min": 0.0, "max": 1.0})],
    ids=["leaky_relu", "relu6", "gelu", "clamp"],
)
def test_a_tangent_rule_moves_nothing(function: Any, options: dict[str, float]) -> None:
    x = torch.empty(2, 3, 4, 4, device=META)
    with Watch():  # the rule is called by name: what torch calls for us, `NoConstants` does not look into
        made = Dual.__torch_function__(function, (Dual,), (Dual(x, (x,)),), options)
    assert made.tangents[0].device == META


# Faults planted where they would be: each has to be seen.


class Reads(SoftTargetTransfer):
    """Looks at its loss on the host."""

    def terms(self, student: Observation, teacher: Observation, batch: Any) -> dict[str, Tensor]:
        made = super().terms(student, teacher, batch)
        assert made["kd"].item() >= 0
        return made


class Branches(SoftTargetTransfer):
    """Does one thing or another, as its loss is."""

    def terms(self, student: Observation, teacher: Observation, batch: Any) -> dict[str, Tensor]:
        made = super().terms(student, teacher, batch)
        return {"kd": made["kd"] * 2} if made["kd"] > 1 else made


class Chooses(SoftTargetTransfer):
    """Takes the samples that it likes: how many there are, only the device knows."""

    def terms(self, student: Observation, teacher: Observation, batch: Any) -> dict[str, Tensor]:
        return {"kd": student.logits[teacher.logits.amax(1) > 0].square().mean()}


class LeavesBehind(SoftTargetTransfer):
    """Makes a tensor on the CPU."""

    def terms(self, student: Observation, teacher: Observation, batch: Any) -> dict[str, Tensor]:
        return {"kd": (student.logits * torch.ones(student.logits.shape)).square().mean()}


class Carries(SoftTargetTransfer):
    """Moves a tensor to the device in every step."""

    def terms(self, student: Observation, teacher: Observation, batch: Any) -> dict[str, Tensor]:
        return {"kd": (student.logits * torch.ones(student.logits.shape).to(student.logits.device)).square().mean()}


class Makes(SoftTargetTransfer):
    """Makes a tensor of a number of the host's in every step."""

    def terms(self, student: Observation, teacher: Observation, batch: Any) -> dict[str, Tensor]:
        return {"kd": student.logits.square().mean() * student.logits.new_tensor(0.5)}


class Counts(SoftTargetTransfer):
    """Does another thing in every other step."""

    def terms(self, student: Observation, teacher: Observation, batch: Any) -> dict[str, Tensor]:
        made = super().terms(student, teacher, batch)
        self.count = getattr(self, "count", 0) + 1
        return {"kd": made["kd"] * 2} if self.count % 2 else made


@pytest.mark.parametrize(
    ("planted", "error"),
    [
        (Reads, RuntimeError),
        (Branches, RuntimeError),
        (Chooses, (RuntimeError, NotImplementedError)),
        (LeavesBehind, (RuntimeError, WaitsError)),
        (Carries, WaitsError),
        (Makes, WaitsError),
        (Counts, AssertionError),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_a_planted_fault_is_seen(planted: type, error: Any) -> None:
    with pytest.raises(error):
        trained(small(f"'{__name__}:{planted.__name__}'"))


def test_whatever_is_said_to_be_read_is_read() -> None:
    assert read <= set(READS), "say what is read, and why"
    run = trained(small("attention", "{trust: {interval: 1, probe_size: 16}}"))
    trained(small("kd"))
    reads_in(lambda: evaluate(run.student.module, eval_batches(run.data.val, 8, META)))
    assert run.recipe is not None
    reads_in(run.recipe.key)
    assert read == set(READS)
