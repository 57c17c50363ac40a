"""Warm start: which trials of an earlier study the samplers of a new one begin with.

Chosen once, when the study is created, and recorded by the trials' numbers. A finished trial never changes, so what a
proposal may see is fixed whatever the earlier study does later. These trials are the earlier study's: they are not
counted, never best, and in no comparison.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kdstudy.errors import StudyError
from kdstudy.ledger import Ledger, TrialRecord, WarmStart
from kdstudy.plugins import DATASETS, SAMPLERS
from kdstudy.search.samplers import PastTrial, past_trial
from kdstudy.study import Study, TrialConfig, flatten

_FREE = ("name", "data_seed", "init_seed", "study_seed", "resources", "cache")
"""What two trials may differ in and still have comparable scores: the seed, the hardware, the cache."""


def choose_warm_start(study: Study, reference: str, ledger: Ledger) -> WarmStart:
    """Return which finished search trials of an earlier study the arms of a new one learn from.

    A trial serves the arm of its name, in the search of its number, if the new study searches the same values there, if
    its own lie inside today's ranges, and if everything else of its configuration, the seed and with it the validation
    images included, is what the new study would run.

    Args:
        study: The new study.
        reference: The earlier study's ID, unique prefix, or ``latest``.
        ledger: Holds it.

    Raises:
        RecordError: There is no such study.
        StudyError: It has nothing to teach this one, or the sampler does not learn.
    """
    source = ledger.study(ledger.resolve(reference))
    if not SAMPLERS.load(study.search.sampler.name).learns:
        raise StudyError(
            [
                f"--warm-start: the sampler '{study.search.sampler.name}' takes no account of results; write sampler: "
                "tpe or cmaes, or leave the option out"
            ]
        )
    trials = [trial for trial in ledger.trials(source.id, "search") if trial.done and trial.state != "failed"]
    found: dict[str, list[int]] = {arm.name: [] for arm in study.arms}
    reason = "none of its arms has finished search trials of the values searched here, inside these ranges"
    for trial in trials:
        if not _fits(study, trial):
            continue
        differs = next(_differences(_config_then(trial), _comparable(_config_now(study, trial))), None)
        if differs is None:
            found[trial.arm].append(trial.number)
        else:
            reason = differs
    if not any(found.values()):
        raise StudyError(
            [
                f"--warm-start: {source.id} has nothing to teach this study: {reason}; name a study of the same data, "
                "seed, networks and training, or leave the option out"
            ]
        )
    return WarmStart(source.id, found)


def check_warm_start(ledger: Ledger, study_id: str) -> None:
    """Refuse a warm start from a study whose data, teacher or weights turned out to be others under the same names.

    Raises:
        StudyError: They are.
    """
    warm = ledger.warm_start(study_id)
    if warm is None:
        return
    ours, theirs = ledger.study(study_id), ledger.study(warm.source)
    for part, key in (("dataset", "fingerprint"), ("teacher", "sha256")):
        here, there = getattr(getattr(ours, part), key), getattr(getattr(theirs, part), key)
        if here != there:
            raise StudyError(
                [
                    f"--warm-start: the {key} of this study's {part} is {str(here)[:16]}, that of {warm.source} is "
                    f"{str(there)[:16]}: their scores cannot be compared; run the study without the option"
                ]
            )

    one, other = ours.teacher.weights or {}, theirs.teacher.weights or {}
    if bool(one) != bool(other) or not (one.items() <= other.items() or other.items() <= one.items()):
        raise StudyError(
            [
                f"--warm-start: networks of {warm.source} began with weights of another sha256: their scores cannot be "
                "compared; run the study without the option"
            ]
        )


def known_results(ledger: Ledger, study_id: str) -> dict[int, dict[str, list[PastTrial]]]:
    """Return by search and arm, in order of their numbers, the results a study learnt from at its start."""
    warm = ledger.warm_start(study_id)
    if warm is None:
        return {}
    trials = {trial.number: trial for trial in ledger.trials(warm.source, "search")}
    scores = ledger.scores(warm.source)
    found: dict[int, dict[str, list[PastTrial]]] = {}
    for arm, numbers in warm.trials.items():
        for trial in map(trials.__getitem__, numbers):
            known = found.setdefault(trial.search, {}).setdefault(arm, [])
            known.append(past_trial(trial, scores.get(trial.number)))
    return found


def warm_start_lines(warm: WarmStart, study: Study) -> Iterator[str]:
    """Yield one line per arm about what it learns from."""
    startup = study.search.startup_trials * study.confirm.searches
    for arm, numbers in warm.trials.items():
        if numbers:
            left = f", {startup - len(numbers)} random ones go before" if len(numbers) < startup else ""
            yield f"warm start: {arm} learns from {len(numbers)} trials of {warm.source}{left}"
        else:
            yield (
                f"warm start: {arm} finds no trial in {warm.source}; it starts without, so the arms are not searched "
                "equally"
            )


def _fits(study: Study, trial: TrialRecord) -> bool:
    if trial.arm not in {arm.name for arm in study.arms} or trial.search >= study.confirm.searches:
        return False
    space = study.space(trial.arm)
    return space.keys() == trial.values.keys() and all(space[path].contains(trial.values[path]) for path in space)


def _config_then(trial: TrialRecord) -> dict[str, Any]:
    return _comparable(TrialConfig.from_json(trial.config, f"{trial.study_id}: trial {trial.number}"))


def _config_now(study: Study, trial: TrialRecord) -> TrialConfig:
    return study.config(
        trial.arm, trial.values, data_seed=trial.data_seed, init_seed=trial.init_seed, search=trial.search
    )


def _comparable(config: TrialConfig) -> dict[str, Any]:
    """Return by path what a trial's score depends on beside its seeds.

    Caching the teacher's outputs changes none of it, and the file behind a path is compared by `check_warm_start`.
    """
    kept = {
        path: value
        for path, value in flatten(config).items()
        if path.partition(".")[0] not in _FREE and path not in ("data.root", "data.download")
    }
    kept["data.options"] = {**_data_defaults(config.data.name), **config.data.options}
    kept["teacher.path"] = config.teacher.path and "a file"
    kept["cache.dtype"] = config.cache.dtype
    kept["cache.views"] = config.cache.views if config.cache.mode == "views" else None
    return kept


def _data_defaults(name: str) -> dict[str, Any]:
    """Return the options of a data set of ours as they are by default: earlier versions knew fewer."""
    known = DATASETS.options(name) if name in [*DATASETS] else {}
    return {option.name: option.default for option in known.values()}


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    for path in {**there, **here}:
        if there.get(path) != here.get(path):
            name = "seed" if path == "split_seed" else path
            yield f"{name} is {there.get(path)} there and {here.get(path)} here"
