"""What may spoil a study's answer, each in a sentence: what was seen, and what can be done about it.

One function for each kind; none speaks of what its study cannot help, and each is quiet where chance alone would often
set it off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from kdstudy.analysis.answer import Answer, ArmAnswer, RanWith, Warned
from kdstudy.analysis.comparison import Row
from kdstudy.analysis.confirmation import Confirmation
from kdstudy.analysis.estimates import Estimate
from kdstudy.analysis.family import family_of
from kdstudy.analysis.verdict import explore
from kdstudy.results import HELD_OUT, Verdict, brief, count_of, points
from kdstudy.study import Arm, ArmId, Choice, Int, Range

FEW_TRIALS = 8
"""With fewer trials an arm and search, what a search picks is mostly luck."""
STILL = 0.01
"""Multipliers that never leave 1 by more did nothing: the placebo moves them by twice as much."""
NO_GAIN = 1e-3
"""A gain of this size or less does nothing; asked where no multipliers are recorded."""
EDGE = 0.02
"""A share of a range, on its own scale: what lies so near to an end lies at it."""
FEWEST_AT_AN_EDGE = 5
"""Of whole numbers: in a smaller range every other pick lies at an end."""
CLAIMS: tuple[Verdict, ...] = ("better", "worse", "better_by_less", "worse_by_less", "configurations_differ")
"""Verdicts that say there is a difference."""

_CARVED = " (the test images are held out of the training images: what was trained on all of those has seen them too)"


@dataclass(frozen=True)
class Evidence:
    """What the warnings of one study are drawn from.

    Args:
        confirmation: Its confirmation runs.
        answer: What it answers.
        rows: Its own comparisons, judged, in the order of its family.
        trials: Search trials of each arm in each search.
        moves: How far, at most, an arm's multipliers were from 1 in a search; missing where that is not recorded.
    """

    confirmation: Confirmation
    answer: Answer
    rows: Sequence[Row]
    trials: Mapping[tuple[ArmId, int], int]
    moves: Mapping[tuple[ArmId, int], float]


def warnings_of(evidence: Evidence) -> list[Warned]:
    """Return the warnings, those about the whole study first."""
    return [warned for kind in _KINDS for warned in kind(evidence)]


def trials_lost(evidence: Evidence) -> Iterator[Warned]:
    """Arms of which no trial came through, so that there is nothing to compare."""
    for lost in evidence.answer.lost:
        yield Warned("trials_lost", lost.message, _only(lost.arms))


def few_trials(evidence: Evidence) -> Iterator[Warned]:
    """Fewer than eight trials for each arm and search."""
    study = evidence.confirmation.study
    searched = [arm.id for arm in study.arms if study.space(arm)]
    counts = [count for (arm, _), count in evidence.trials.items() if arm in searched]
    over = evidence.confirmation.record.status == "finished"
    fewest = study.search.trials_per_arm or (min(counts, default=FEW_TRIALS) if over else FEW_TRIALS)
    if searched and fewest < FEW_TRIALS:
        yield Warned(
            "few_trials",
            f"each search tried {count_of(fewest, 'configuration')} an arm: with fewer than {FEW_TRIALS}, what it "
            "picks, and so an arm's score, depends much on luck; raise search.trials_per_arm",
        )


def at_chance(evidence: Evidence) -> Iterator[Warned]:
    """Students that score what a network scores that knows nothing."""
    chance = evidence.answer.chance
    if chance is None:
        return
    low = {each.arm: each.at_chance for each in evidence.answer.arms}
    poor = [arm for arm, count in low.items() if count]
    if not poor:
        return
    where = ", ".join(_share(arm, low[arm], len(evidence.answer.of(arm).scores)) for arm in poor)
    yield Warned(
        "at_chance",
        f"students are at chance ({_percent(chance)}): {where}; they learnt nothing, and their scores say nothing of "
        "a method: train longer, or search smaller learning rates and weights",
        _only(poor),
    )


def teacher_seen(evidence: Evidence) -> Iterator[Warned]:
    """Networks that may know the validation images: a teacher that was loaded, weights that one began with."""
    record = evidence.confirmation.record
    teacher, notes = record.teacher, record.dataset.notes or ()
    if not teacher.seen and not teacher.weights:
        return
    carved = _CARVED if any(HELD_OUT in note for note in notes) else ""
    if teacher.weights:
        named = " and ".join(f"'{name}'" for name in teacher.weights)
        yield Warned(
            "teacher_seen",
            f"networks began with {named}, which may have been trained on validation or test images of this study "
            f"(seen: unknown){carved}: scores may be too high, for every arm alike; keep images of your own for the "
            "test",
        )
        return
    scores = "" if teacher.val is None else f": it scores {_percent(teacher.val)} on them"
    if scores and teacher.test is not None:
        scores += f" and {_percent(teacher.test)} on the test images"
    yield Warned(
        "teacher_seen",
        f"the teacher was loaded, and may have been trained on the validation images{scores}; the search may trust it "
        f"too much{carved}: keep these images from its training, or train it here (teacher.epochs)",
    )


def teacher_below_plain(evidence: Evidence) -> Iterator[Warned]:
    """A teacher that plain training of the student beats."""
    answer = evidence.answer
    plain = None if answer.plain is None else answer.of(answer.plain).estimate
    if plain is None or answer.teacher_test is None or not _exceeds(plain.mean - answer.teacher_test, plain):
        return
    yield Warned(
        "teacher_below_plain",
        f"the teacher ({_percent(answer.teacher_test)} on test) is below plain training of the student "
        f"({_percent(plain.mean)}): it has little to teach; train it longer, or take a better one",
    )


def below_plain(evidence: Evidence) -> Iterator[Warned]:
    """Arms with a teacher that plain training beats."""
    answer, study = evidence.answer, evidence.confirmation.study
    if answer.plain is None:
        return
    lost = {}
    for arm in study.arms:
        if arm.transfer.name != "none":
            found = explore(evidence.confirmation.scores(answer.plain, arm.id, later=False)).estimate
            if found is not None and _exceeds(-found.mean, found):
                lost[arm.id] = found.mean
    if lost:
        told = ", ".join(f"{arm.name} by {points(-mean, 1)}" for arm, mean in lost.items())
        yield Warned(
            "below_plain",
            f"below plain training ({answer.plain.name}), in points: {told}; what is taught does not help there: "
            "search smaller weights too, or another layer pairing",
            _only(list(lost)),
        )


def does_nothing(evidence: Evidence) -> Iterator[Warned]:
    """Policies that left the learning rates as they were."""
    idle, most = {}, 0.0
    for arm in evidence.confirmation.study.arms:
        each = evidence.answer.of(arm.id)
        moves = [_move(evidence, arm, each, place) for place in range(len(each.searches))]
        still = [move for move in moves if move < STILL]
        if still and 2 * len(still) >= len(moves):
            idle[arm.id] = _share(arm.id, len(still), len(moves))
            most = max(most, *still)
    if idle:
        yield Warned(
            "does_nothing",
            f"the multipliers stayed at 1, to within {most:.1g}, in {', '.join(idle.values())}: what was trained is "
            "the constant rate, and the comparison tells nothing of the policy; keep its gain away from 0",
            _only(list(idle)),
        )


def _move(evidence: Evidence, arm: Arm, each: ArmAnswer, place: int) -> float:
    """Return how far an arm's multipliers were from 1 in a search; without a record of them, a gain near 0 tells."""
    move = evidence.moves.get((arm.id, each.searches[place]))
    if move is not None:
        return move
    gain = next(
        (value.values[place] for value in each.ran_with if value.path.endswith(".gain")),
        arm.policy.options.get("gain"),
    )
    return abs(gain) if isinstance(gain, float | int) and abs(gain) <= NO_GAIN else math.inf


def edge_of_range(evidence: Evidence) -> Iterator[Warned]:
    """Best values at an end of what was searched: better ones may lie beyond."""
    found: dict[tuple[str, str], list[tuple[ArmId, RanWith, str]]] = {}
    for each in evidence.answer.arms:
        for value in each.ran_with:
            ends = [_end(value.span, picked) for picked in value.values]
            for name in ("lower", "upper"):
                at = [brief(picked) for picked, end in zip(value.values, ends, strict=True) if end == name]
                if at and 2 * len(at) > len(ends):
                    told = f"{_share(each.arm, len(at), len(ends))} ({', '.join(at)})"
                    found.setdefault((value.path, name), []).append((each.arm, value, told))
    for (path, name), there in found.items():
        span = there[0][1].span
        yield Warned(
            "edge_of_range",
            f"the best {path} lies at the {name} end, {brief(span.ends()[0 if name == 'lower' else -1])}, of its range "
            f"{brief(span.to_yaml())} in {', '.join(told for _, _, told in there)}; widen the range",
            _only([arm for arm, _, _ in there]),
        )


def _end(span: Range, picked: Any) -> str | None:
    """Return which end of its range a value lies at; a lower end of 0 is taken to be no matter of choice."""
    if isinstance(span, Choice):
        return None
    if isinstance(span, Int):
        if len(span) < FEWEST_AT_AN_EDGE:
            return None
        place = (picked - span.low) / (span.high - span.low)
    else:
        place = span.position(picked)
    if place <= EDGE:
        return "lower" if span.low else None
    return "upper" if place >= 1 - EDGE else None


def other_values(evidence: Evidence) -> Iterator[Warned]:
    """A difference between arms that differ in more than their policy."""
    for (baseline, treatment), row in zip(family_of(evidence.confirmation.study), evidence.rows, strict=True):
        if row.verdict not in CLAIMS:
            continue
        own = {value.path: value.values for value in evidence.answer.of(baseline).ran_with}
        differing = {
            value.path: (value.values, own[value.path])
            for value in evidence.answer.of(treatment).ran_with
            if value.path in own and value.values != own[value.path]
        }
        if differing:
            told = ", ".join(f"{path} {middle(now)} against {middle(then)}" for path, (now, then) in differing.items())
            yield Warned(
                "other_values",
                f"{treatment.name} and {baseline.name} also differ in what their searches picked ({told}): this is the "
                f"difference of tuned arms; a study with search.together: [{', '.join(differing)}] and sampler: random "
                "tells how much of it is the policy",
                treatment,
            )


_KINDS: tuple[Callable[[Evidence], Iterator[Warned]], ...] = (
    trials_lost,
    few_trials,
    at_chance,
    teacher_seen,
    teacher_below_plain,
    below_plain,
    does_nothing,
    edge_of_range,
    other_values,
)


def middle(values: Sequence[Any]) -> str:
    """Return what stands for the picks of all searches: their median, or how often each was picked."""
    if len(set(map(brief, values))) == 1:
        return brief(values[0])
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return f"{sorted(values)[(len(values) - 1) // 2]:.3g}"
    texts = sorted(map(brief, values))
    counts = {text: len(list(same)) for text, same in groupby(texts)}
    return ", ".join(f"{text} x{count}" for text, count in sorted(counts.items(), key=lambda item: -item[1]))


def _exceeds(lead: float, found: Estimate) -> bool:
    """Return whether a lead is more than a standard error: what chance gives once in six times at the most."""
    if not found.sd:
        return lead > 0
    return lead > found.sd / math.sqrt(found.n)


def _share(arm: ArmId, count: int, searches: int) -> str:
    return arm.name if count == searches else f"{arm.name} in {count} of {searches} searches"


def _only(arms: Sequence[ArmId]) -> ArmId | None:
    return arms[0] if len(arms) == 1 else None


def _percent(fraction: float) -> str:
    return f"{points(fraction, 1)}%"
