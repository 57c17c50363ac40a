"""The data of a comparison: one number per search, whatever its seeds."""

from __future__ import annotations

import math

import pytest

from kdstudy.analysis.searches import PairedSearches, SearchScores


def test_a_searchs_number_is_the_mean_of_its_seeds() -> None:
    scores = PairedSearches((SearchScores((0.5, 0.75), (0.75, 0.75)), SearchScores((0.5, 0.5), (0.25, 0.5))))
    assert scores.differences == (0.125, -0.125)
    assert scores.baseline_means == (0.625, 0.5)
    assert scores.treatment_means == (0.75, 0.375)
    assert (scores.count, scores.seeds, scores.won) == (2, 2, 1)


def test_searches_count_alike_even_where_their_seeds_differ() -> None:
    searches = (SearchScores((0.5,), (1.0,)), SearchScores((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))
    with pytest.raises(ValueError, match="1, 3 seeds"):
        PairedSearches(searches)
    scores = PairedSearches(searches, unequal_seeds=True)
    assert scores.differences == (0.5, 0.0)  # pooled seeds would give a mean of 1/8, not 1/4
    assert scores.seeds == 1


def test_what_only_rounding_tells_apart_is_equal() -> None:
    # 0.8 - 0.7 and 0.9 - 0.8 differ in the last bit.
    searches = tuple(SearchScores((before,), (after,)) for before, after in ((0.7, 0.8), (0.8, 0.9), (0.1, 0.2)))
    assert len({search.treatment[0] - search.baseline[0] for search in searches}) > 1
    assert len({*PairedSearches(searches).differences}) == 1
    tie = PairedSearches((SearchScores((0.3,), (0.1 + 0.2,)), SearchScores((0.5,), (0.6,))))
    assert tie.searches[0].differences == (0.0,)
    assert (tie.differences[0], tie.won) == (0, 1)
    seeds = SearchScores((0.3, 0.5), (0.1 + 0.2, 0.6))
    assert seeds.differences == (0.0, pytest.approx(0.1))
    thirds = PairedSearches((SearchScores((0.3, 0.6, 0.6), (0.6, 0.3, 0.6)), SearchScores((0.5,) * 3, (0.5,) * 3)))
    assert thirds.differences == (0.0, 0.0)


def test_a_comparison_may_have_no_search_at_all() -> None:
    scores = PairedSearches(())
    assert (scores.count, scores.seeds, scores.won, scores.differences) == (0, 0, 0, ())


@pytest.mark.parametrize(
    ("baseline", "treatment"),
    [((), ()), ((0.5,), (0.5, 0.5)), ((0.5,), (1.5,)), ((-0.1,), (0.5,)), ((0.5,), (math.nan,))],
)
def test_what_is_no_pair_of_scores_is_a_mistake(baseline: tuple[float, ...], treatment: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="score"):
        SearchScores(baseline, treatment)
