"""Arms compared over the searches of one or more studies.

Only confirmation runs count, by their test score after the last epoch. A run that diverged scores chance level; one
that failed (an exception) has no score and blocks the verdict of its comparison. No seed and no search is dropped.

Each study is judged by what it declared, whatever IDs a call names: its own family of comparisons, over its own
searches. Everything else that a call shows (another baseline, searches or seeds added later, studies counted
together) is exploratory: who sees a verdict before deciding on more may stop when he likes what he sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from kdstudy.analysis.comparison import Comparison, Gain, GainDifference, Row
from kdstudy.analysis.conclude import conclude
from kdstudy.analysis.confirmation import Confirmation, confirmation_of
from kdstudy.analysis.estimates import welch_interval
from kdstudy.analysis.family import Pair, family_of, pairs_of
from kdstudy.analysis.searches import PairedSearches
from kdstudy.analysis.verdict import Judgement, Plan, explore, judge
from kdstudy.errors import RecordError
from kdstudy.ledger import Ledger, StudyRecord
from kdstudy.results import Family
from kdstudy.study import ArmId, Study

_PLAIN = ArmId("none", "constant")


def compare(ledger: Ledger, ids: Sequence[str], baseline: str | None = None) -> Comparison:
    """Compare the arms of one or more studies.

    Args:
        ledger: Where the studies are.
        ids: IDs, unique prefixes or ``latest``; at least one.
        baseline: The policy that each other one is compared with under the same transfer; None for the study's own
            comparisons. ``none``: each arm against ``none/constant``, plain training.

    Raises:
        RecordError: A study does not exist, or has no arm of the baseline.
    """
    records = [ledger.study(study_id) for study_id in dict.fromkeys(ledger.resolve(one) for one in ids)]
    studies = [_StudyRuns(record, record.study(), confirmation_of(ledger, record)) for record in records]
    rows = [row for study in studies for row in study.rows(baseline)]
    return Comparison(
        tuple(record.id for record in records),
        (*rows, *_together(studies, baseline)),
        _gain_differences(records, [row for row in rows if not row.later]),
        tuple(conclude(ledger, study.confirmation, study.verdicts()) for study in studies),
    )


@dataclass(frozen=True)
class _StudyRuns:
    """A study with all its confirmation runs."""

    record: StudyRecord
    study: Study
    confirmation: Confirmation

    def rows(self, baseline: str | None) -> list[Row]:
        """Return the study's comparisons in the order of its file; behind each what was added later to it."""
        own = family_of(self.study)
        verdicts = dict(zip(own, self._judge(own), strict=True))
        rows = []
        for pair in self.pairs(baseline):
            verdict = verdicts.get(pair)
            rows.append(self.row(pair, verdict or explore(self.scores(pair, later=False)), declared=pair in verdicts))
            if self.confirmation.has_later(pair):
                rows.append(self.row(pair, explore(self.scores(pair, later=True)), declared=False, later=True))
        return rows

    def verdicts(self) -> list[Row]:
        """Return the study's own comparisons, judged, whatever a call names."""
        own = family_of(self.study)
        return [self.row(pair, judged, declared=True) for pair, judged in zip(own, self._judge(own), strict=True)]

    def pairs(self, baseline: str | None) -> list[Pair]:
        """Return what a call compares: the study's own family, or every arm with the baseline it names."""
        return family_of(self.study) if baseline is None else self._against(baseline)

    def scores(self, pair: Pair, *, later: bool) -> PairedSearches:
        """Return the scores of two arms, over what the study declared or over all that it has."""
        return self.confirmation.scores(*pair, later=later)

    def row(self, pair: Pair, judgement: Judgement, *, declared: bool, later: bool = False) -> Row:
        """Return one comparison as it is shown."""
        baseline, treatment = pair
        family: Family = "study" if declared else "exploratory"
        return Row(
            study_id=self.record.id,
            dataset=self.record.dataset.name,
            transfer=treatment.transfer,
            baseline=baseline.policy if baseline.transfer == treatment.transfer else baseline.name,
            treatment=treatment.policy,
            estimand="equal_rates" if self.study.search.together else "tuned",
            family=family,
            smallest=self._smallest if declared else None,
            diverged_baseline=self.confirmation.diverged(baseline, later=later),
            diverged_treatment=self.confirmation.diverged(treatment, later=later),
            judgement=judgement,
            declared=self.study.confirm.searches,
            later=later,
        )

    def _judge(self, family: Sequence[Pair]) -> list[Judgement]:
        confirm = self.study.confirm
        plan = Plan(confirm.searches, confirm.at_most, self._smallest)
        return judge([self.scores(pair, later=False) for pair in family], plan)

    @property
    def _smallest(self) -> float | None:
        smallest = self.study.confirm.smallest
        return None if smallest is None else smallest / 100

    def _against(self, baseline: str) -> list[Pair]:
        arms = [arm.id for arm in self.study.arms]
        if baseline == _PLAIN.transfer:
            if _PLAIN not in arms:
                raise RecordError(
                    f"study '{self.record.id}': has no arm none/constant to be the baseline; run one that has 'none' "
                    "among its transfers and 'constant' among its policies"
                )
            return [(_PLAIN, arm) for arm in arms if arm != _PLAIN]
        if baseline not in {arm.policy for arm in arms}:
            raise RecordError(
                f"study '{self.record.id}': has no policy '{baseline}' to be the baseline; choose from "
                f"{', '.join(dict.fromkeys(arm.policy for arm in arms))}, or say 'none' for plain training"
            )
        return pairs_of(self.study, baseline)


def _together(studies: Sequence[_StudyRuns], baseline: str | None) -> list[Row]:
    """Return the comparisons of studies that are equal but for the seed, their declared searches counted together."""
    groups: list[list[_StudyRuns]] = []
    for study in studies:
        known = next((group for group in groups if _alike(group[0]) == _alike(study)), None)
        if known is None:
            groups.append([study])
        else:
            known.append(study)
    # Studies of the same seed would count the same searches twice.
    apart = [group for group in groups if len({study.study.seed for study in group}) == len(group) > 1]
    return [_row_of(group, pair) for group in apart for pair in group[0].pairs(baseline)]


def _row_of(group: Sequence[_StudyRuns], pair: Pair) -> Row:
    parts = [study.scores(pair, later=False) for study in group]
    scores = PairedSearches(
        tuple(search for part in parts for search in part.searches),
        failed=sum(part.failed for part in parts),
        unpicked=sum(part.unpicked for part in parts),
        unequal_seeds=True,
    )
    rows = [study.row(pair, explore(scores), declared=False) for study in group]
    return replace(
        rows[0],
        diverged_baseline=sum(row.diverged_baseline for row in rows),
        diverged_treatment=sum(row.diverged_treatment for row in rows),
        declared=sum(row.declared for row in rows),
        together=tuple(row.study_id for row in rows),
    )


def _alike(runs: _StudyRuns) -> tuple[Study, str | None, str | None, dict[str, str]]:
    """Return what two studies must share for their searches to be draws of the same thing.

    Files are told by what is in them where the record knows it: the same ones may lie elsewhere.
    """
    study, record = runs.study, runs.record
    images = (record.dataset.fingerprints or {}).get("test", study.data.root)
    weights = study.teacher.path and (record.teacher.sha256 or study.teacher.path)
    begun = record.teacher.weights or {}
    confirm = replace(study.confirm, searches=1, at_most=None, smallest=None)
    data, teacher = replace(study.data, root=None), replace(study.teacher, path=None)
    return replace(study, name="", seed=0, text="", confirm=confirm, data=data, teacher=teacher), images, weights, begun


def _gain_differences(records: Iterable[StudyRecord], rows: Sequence[Row]) -> tuple[GainDifference, ...]:
    """Return, for every comparison that two studies share, how much more the later named one gains."""
    known = {record.id: record for record in records}
    found = []
    for first, second in combinations(rows, 2):
        if first.study_id != second.study_id and first.key == second.key:
            gains = [_gain(known[row.study_id], row) for row in (first, second)]
            interval = welch_interval(*(row.judgement.scores.differences for row in (first, second)))
            difference = None
            if interval is not None and gains[0].gain is not None and gains[1].gain is not None:
                difference = gains[1].gain - gains[0].gain
            low, high = interval or (None, None)
            found.append(GainDifference(*first.key, gains[0], gains[1], difference, low, high))
    return tuple(found)


def _gain(study: StudyRecord, row: Row) -> Gain:
    test, estimate = study.teacher.test, row.judgement.estimate
    return Gain(
        study.id,
        row.dataset,
        None if test is None else 1 - test,
        row.judgement.scores.count,
        None if estimate is None else estimate.mean,
    )
