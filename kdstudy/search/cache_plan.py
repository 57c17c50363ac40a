"""Resolve `cache.mode: auto`, and estimate how large the cache of teacher outputs will be.

Decided once, from the study file and the size of the outputs alone, so that a resumed study decides the same. `auto`
chooses only what leaves every number as it is (``schedule`` in float32), and only where it saves work: for arms whose
trials see the same batches and ask the teacher for the same, as long as all of it fits in `cache.max_bytes`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kdstudy.results import Phase, byte_count
from kdstudy.study import CacheMode, Study, TrialConfig


@dataclass(frozen=True)
class Keep:
    """What one transfer method would keep of the teacher's outputs.

    Args:
        file_bytes: Of one epoch, or under ``views`` and ``all_views`` of one view of every image.
        indifferent: Options of the method that do not touch them.
        views: That can be drawn of an image; under ``all_views`` only.
    """

    file_bytes: int
    indifferent: tuple[str, ...]
    views: int = 0


def configs_to_measure(configs: Sequence[TrialConfig]) -> list[TrialConfig]:
    """Return the trials with ``auto`` replaced by the mode that it may resolve to, so that its size can be measured."""
    return [replace(each, cache=replace(each.cache, mode=_wanted(each.cache.mode))) for each in configs]


class CachePlan:
    """The cache modes of a study's trials.

    Args:
        study: The study.
        keeps: Of each arm, what its transfer would keep; None where nothing is.
        taught: Of each arm, whether its trials look at the teacher; None: all but those of `none`.
    """

    def __init__(self, study: Study, keeps: Sequence[Keep | None], taught: Sequence[bool] | None = None) -> None:
        self._study = study
        self._plain = {arm.transfer.called for arm in study.arms if arm.transfer.name == "none"}
        looks = [arm.transfer.called not in self._plain for arm in study.arms] if taught is None else taught
        self._taught = {arm.transfer.called for arm, looking in zip(study.arms, looks, strict=True) if looking}
        self._keeps = {arm.transfer.called: keep for arm, keep in zip(study.arms, keeps, strict=True)}
        self._policies = len(study.arms) // len(self._keeps)
        self._shared = set(self._chosen()) if study.cache.mode == "auto" else set()

    def mode(self, transfer: str, phase: Phase) -> CacheMode:
        """Return the mode of a trial: the study's own, or what ``auto`` resolves to."""
        if self._study.cache.mode != "auto":
            return self._study.cache.mode
        several = phase == "search" or self._policies > 1  # a confirmation seed is shared by the policies alone
        return "schedule" if transfer in self._shared and several else "off"

    def is_live(self, transfer: str) -> bool:
        """Return whether search trials run the teacher in every step."""
        keep = self._keeps[transfer]
        if transfer not in self._taught:
            return False
        if keep is None or self._study.cache.mode in ("auto", "off"):
            return transfer not in self._shared
        return self._size(keep) > self._study.cache.max_bytes

    @property
    def files(self) -> int:
        """Most files that one transfer keeps: under ``all_views`` in all, else of one data seed."""
        return max((self._files(keep) for keep in self._keeps.values() if keep is not None), default=0)

    def summary_lines(self) -> Iterator[str]:
        """Yield one line per transfer method: what is kept, how large it is, when it pays."""
        if self._study.cache.mode == "off":
            return
        for transfer, keep in self._keeps.items():
            if transfer not in self._plain:
                yield f"cache: {transfer}: {self._reason(transfer, keep)}"

    def _reason(self, transfer: str, keep: Keep | None) -> str:
        cache = self._study.cache
        if keep is None:
            views = f", on {cache.views} views an image in turn" if cache.mode == "views" else ""
            return f"the teacher is run in every step{views}: outputs of this method cannot be cached"
        size, limit = self._size(keep), cache.max_bytes
        if cache.mode == "auto" and transfer not in self._shared:
            why = self._own(transfer, keep) or f"{byte_count(size)} do not fit in cache.max_bytes ({byte_count(limit)})"
            return f"off: the teacher is run in every step, since {why}"
        if size > limit:
            return (
                f"{byte_count(size)} are above cache.max_bytes ({byte_count(limit)}): the teacher is run in every step"
            )
        if cache.mode == "views":
            count = min(cache.views, self._study.max_epochs)
            return f"views, {count} an image, {byte_count(size)} a data seed; pays from epoch {count + 1} of a seed on"
        counted = self._study.search.trials_per_arm  # None: as many as hours allow
        if cache.mode == "all_views":
            trials = math.inf if counted is None else counted + self._study.confirm.seeds
            most = trials * self._policies * self._study.max_epochs  # of one search: another has other images
            verdict = f"pays from epoch {keep.views + 1} of its trials on" if most > keep.views else "does not pay"
            instead = "one an epoch" if counted is None else f"up to {most}"
            return (
                f"all_views, {keep.views} an image, {byte_count(size)} for any data seed; the teacher runs over all "
                f"images {keep.views} times in place of {instead}, and {verdict}"
            )
        shared = "all" if counted is None else counted * self._policies
        return (
            f"schedule, {byte_count(size)} a data seed; the teacher runs once for {shared} search trials "
            "and pays from the second on"
        )

    def _chosen(self) -> Iterator[str]:
        room = self._study.cache.max_bytes
        for transfer, keep in self._keeps.items():
            if keep is not None and not self._own(transfer, keep) and self._size(keep) <= room:
                room -= self._size(keep)
                yield transfer

    def _own(self, transfer: str, keep: Keep) -> str:
        """Return why each trial would need outputs of its own, or nothing."""
        if self._study.search.trials_per_arm == 1 and self._policies == 1:
            return "no other trial would use its outputs"
        if self._study.cache.dtype != "float32":
            return "auto never rounds, and cache.dtype asks for it; write mode: schedule"
        free = {f"arms.transfers.{transfer}.{option}" for option in keep.indifferent}
        arm = next(arm for arm in self._study.arms if arm.transfer.called == transfer)
        for path in self._study.space(arm):
            shaping = path == "train.batch_size" or path.startswith(("student.", f"arms.transfers.{transfer}."))
            if shaping and path not in free:
                return f"each trial needs its own: {path} is searched"
        return ""

    def _size(self, keep: Keep) -> int:
        return keep.file_bytes * self._files(keep)

    def _files(self, keep: Keep) -> int:
        cache, epochs = self._study.cache, self._study.max_epochs
        if cache.mode == "all_views":
            return keep.views
        return min(cache.views, epochs) if cache.mode == "views" else epochs


def keep_from_json(values: dict[str, Any] | None) -> Keep | None:
    """Build from what a worker measured."""
    return None if values is None else Keep(values["file_bytes"], tuple(values["indifferent"]), values["views"])


def _wanted(mode: Any) -> Any:
    return "schedule" if mode == "auto" else mode
