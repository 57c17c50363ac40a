"""What a rerun is compared by: records of earlier versions, which hold less, repeat too."""

from __future__ import annotations

from dataclasses import replace

from kdstudy.analysis.reproduce import _gaps
from kdstudy.results import EpochRecord, LayerRecord

NOW = EpochRecord(2, 1.0, {}, 0.5, 1.0, 0.1, {}, (LayerRecord("layer1", 0.25, 0.5, 1.5, 0.75),))


def test_a_record_without_chance_levels_reads_and_is_repeated_by_one_with_them() -> None:
    written = NOW.to_json()
    del written["layers"][0]["chance"]
    earlier = EpochRecord.from_json(written)
    assert earlier == replace(NOW, layers=(LayerRecord("layer1", 0.25, 0.5, 1.5),))
    assert set(_gaps(earlier.numbers(), NOW.numbers())) == {0.0}


def test_a_chance_level_that_was_recorded_must_come_out_again() -> None:
    other = replace(NOW, layers=(replace(NOW.layers[0], chance=0.5),))
    assert max(gap for gap in _gaps(NOW.numbers(), other.numbers()) if gap is not None) == 0.25
    unknown = replace(NOW, layers=(replace(NOW.layers[0], chance=None),))
    assert None in list(_gaps(NOW.numbers(), unknown.numbers()))
