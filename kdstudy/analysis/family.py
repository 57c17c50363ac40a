"""Which comparisons a study declares: those that its verdicts are about, and are corrected for."""

from __future__ import annotations

from kdstudy.study import ArmId, Study

Pair = tuple[ArmId, ArmId]
"""Baseline and treatment."""

_CONSTANT = "constant"


def family_of(study: Study) -> list[Pair]:
    """Return what ``confirm.comparisons`` names, else every policy against ``constant`` of the same transfer."""
    named = study.confirm.comparisons
    if named is not None:
        return [(ArmId.parse(baseline), ArmId.parse(treatment)) for treatment, baseline in named]
    return pairs_of(study, _CONSTANT)


def pairs_of(study: Study, policy: str) -> list[Pair]:
    """Return every other policy of a study against this one, under the same transfer."""
    arms = [arm.id for arm in study.arms]
    pairs = [(ArmId(arm.transfer, policy), arm) for arm in arms if arm.policy != policy]
    return [pair for pair in pairs if pair[0] in arms]
