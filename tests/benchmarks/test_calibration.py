from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import kdstudy
from benchmarks.calibration import CASES, Cell, append, make_teacher, read, run, searches_of
from benchmarks.calibration_report import (
    Searches,
    clopper_pearson,
    count,
    counted,
    covers_none,
    is_found,
    mean_over,
    over_cells,
    paired,
    promised,
    regrouped,
    report,
)
from kdstudy.analysis import compare
from kdstudy.analysis.planning import power
from kdstudy.ledger import Ledger, TrialRecord
from kdstudy.study import TrialConfig
from kdstudy.trial import run_trial

ROOT = Path(__file__).parents[2]
TINY = Cell("short", "tpe", trials=2, searches=2)


@pytest.fixture(autouse=True)
def plugins() -> None:
    kdstudy.allow_plugins("benchmarks")


@pytest.fixture
def teacher(plugins: None) -> nn.Module:
    return make_teacher()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as opened:
        yield opened


def numbers(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All but the time it took."""
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def line(number: int, differences: list[float], *, case: str = "placebo", base: float = 0.5) -> dict[str, Any]:
    """A search whose seeds differ so."""
    arms = {
        "constant": [base] * len(differences),
        CASES[case].treatment: [base + difference for difference in differences],
    }
    return {"case": case, "sampler": "tpe", "number": number, "search": {}, "confirm": arms, "seconds": 1.0}


def study(number: int, differences: list[float]) -> list[dict[str, Any]]:
    """Five searches of two seeds with the same difference in both."""
    return [line(5 * number + search, [difference] * 2) for search, difference in enumerate(differences)]


def test_a_killed_run_goes_on_where_it_was_and_gives_the_same_numbers(tmp_path: Path) -> None:
    file = tmp_path / "found.jsonl"
    run(file, range(1), [TINY])
    whole = read([file])
    assert [(each["case"], each["sampler"], each["number"]) for each in whole] == [
        ("short", "tpe", 0),
        ("short", "tpe", 1),
    ]

    first, second = file.read_text().splitlines()
    file.write_text(first + "\n" + second[:50])
    run(file, range(1), [TINY])
    again = read([file])
    assert numbers(again) == numbers(whole)
    assert again[0] == whole[0], "the first was not trained again: it took as long as before, to the hundredth"

    before = file.read_bytes()
    run(file, range(1), [TINY])
    assert file.read_bytes() == before, "nothing is left to do"


def test_searches_are_the_products_own(teacher: nn.Module, ledger: Ledger) -> None:
    """What the report makes of the lines is what `kdstudy compare` makes of the ledger."""
    found = [*searches_of(Cell("placebo", "random", trials=1, searches=2), 0, teacher, ledger, {})]
    (row,) = [row for row in compare(ledger, ["latest"]).rows if not row.later]
    assert (row.baseline, row.treatment, row.family) == ("constant", "placebo", "study")
    ours = paired(found)
    assert ours.searches == row.judgement.scores.searches
    assert [search.seeds for search in ours.searches] == [2, 2]
    (later,) = [row for row in compare(ledger, ["latest"]).rows if row.later]
    assert paired(found, 5).searches == later.judgement.scores.searches, "five seeds of the same searches"


def test_known_searches_are_recorded_as_if_they_had_been_trained(teacher: nn.Module, tmp_path: Path) -> None:
    with Ledger(f"sqlite:///{tmp_path}/a.db") as one, Ledger(f"sqlite:///{tmp_path}/b.db") as two:
        trained = [*searches_of(TINY, 0, teacher, one, {})]
        assert [*searches_of(TINY, 0, teacher, two, dict(enumerate(trained)))] == []
        here, there = (each.trials("calibration-0") for each in (one, two))
        assert [numbers_of(trial) for trial in here] == [numbers_of(trial) for trial in there]


def test_a_known_run_that_diverged_is_recorded_so(teacher: nn.Module, ledger: Ledger) -> None:
    scores = {
        "search": {"constant": [0.5, None], "short": [0.5, 0.6]},
        "confirm": {"constant": [0.4, 0.4], "short": [None, 0.4]},
    }
    assert [*searches_of(TINY, 0, teacher, ledger, {0: scores, 1: scores})] == []
    lost = [
        (trial.search, trial.phase, trial.arm_id.policy, trial.index)
        for trial in ledger.trials("calibration-0")
        if trial.state == "diverged"
    ]
    assert lost == [
        (search, *place) for search in (0, 1) for place in (("search", "constant", 1), ("confirm", "short", 0))
    ]


def numbers_of(trial: TrialRecord) -> tuple[Any, ...]:
    return trial.number, trial.state, trial.val, trial.test, trial.data_seed, trial.init_seed, trial.values


def test_the_treatment_alone_is_changed(teacher: nn.Module, ledger: Ledger) -> None:
    (found, _) = searches_of(TINY, 0, teacher, ledger, {})
    constant, short = (TrialConfig.from_json(trial.config) for trial in ledger.trials("calibration-0")[:2])
    assert (constant.arm, short.arm) == ("attention/constant", "attention/short")
    assert constant.init_seed == short.init_seed
    assert (constant.train.epochs, short.train.epochs) == (3, 3), "which no study file can say"
    alone = [
        run_trial(each, lambda _record, _result: None, teacher=teacher).val
        for each in (constant, CASES["short"].change(short))
    ]
    assert alone == [found["search"]["constant"][0], found["search"]["short"][0]]


def test_what_the_cases_change() -> None:
    config = TINY.study(0).corner(TINY.study(0).arms[0], 0)
    other, short = CASES["weights"].change(config), CASES["short"].change(config)
    assert CASES["placebo"].change(config) == config
    assert other.init_seed != config.init_seed
    assert (short.train.epochs, config.train.epochs) == (2, 3)
    plain = config.to_json()
    assert {key for key, value in other.to_json().items() if value != plain[key]} == {"init_seed"}
    assert {key for key, value in short.to_json().items() if value != plain[key]} == {"train"}


def test_studies_have_seeds_of_their_own() -> None:
    cells = [Cell(case, sampler) for case in CASES for sampler in ("tpe", "random")]
    seeds = [cell.study(number).seed for cell in cells for number in range(20)]
    assert len({*seeds}) == len(seeds)


def test_a_line_cut_off_by_a_kill_is_neither_read_nor_continued(tmp_path: Path) -> None:
    file = tmp_path / "found.jsonl"
    append(file, line(0, [0.1]))
    file.write_text(file.read_text() + '{"case": "pla')
    append(file, line(1, [0.2]))
    append(file, line(1, [0.3]))
    assert read([file, tmp_path / "none.jsonl"]) == [line(0, [0.1]), line(1, [0.2])]
    assert len(file.read_text().splitlines()) == 4


def test_a_diverged_run_scores_chance_and_an_arm_without_a_pick_blocks() -> None:
    lost = line(0, [0.1, 0.2])
    lost["confirm"]["placebo"][1] = None
    assert paired([lost]).searches[0].treatment == (0.6, 0.1)
    lost["confirm"]["constant"] = []
    assert (paired([lost]).count, paired([lost]).unpicked) == (0, 1)


def test_exact_intervals() -> None:
    low, high = clopper_pearson((0, 30))
    assert low == 0
    assert math.isclose(high, 1 - 0.025 ** (1 / 30)), "what 0 of 30 can show: 0.116"
    assert math.isclose(clopper_pearson((30, 30))[0], 0.025 ** (1 / 30))
    assert clopper_pearson((0, 0)) == (0.0, 1.0)


def test_studies_are_judged_in_whole_disjoint_groups() -> None:
    """t of the first: mean 0.03, sd 0.0158, 0.03 / (0.0158 / sqrt 5) = 4.24 > 2.776; then 0, and -4.24."""
    lines = [*study(0, [0.01, 0.02, 0.03, 0.04, 0.05]), *study(1, [-0.02, -0.01, 0, 0.01, 0.02])]
    lines += study(2, [0.1, 0.2, 0.1, 0.2, 0.1])[:4]
    lines += study(4, [-0.01, -0.02, -0.03, -0.04, -0.05])
    blocked = study(3, [0.01, 0.02, 0.03, 0.04, 0.05])
    blocked[2]["confirm"]["constant"] = []
    found = Searches("all", [*lines, *blocked]).studies()
    assert [each.verdict for each in found] == ["better", "inconclusive", "worse", "no_verdict"]
    assert (count(found, is_found), count(found, covers_none)) == ((2, 3), (1, 3))


def test_the_old_rule_takes_each_search_by_its_five_seeds() -> None:
    """t is 4.24, 0, and 1 / (2.236 / 2.236) = 1: one of three; a case of two seeds is not asked."""
    lines = [
        line(0, [0.01, 0.02, 0.03, 0.04, 0.05]),
        line(1, [-0.02, -0.01, 0, 0.01, 0.02]),
        line(2, [0.05, 0, 0, 0, 0]),
        line(3, [0.1, 0.1], case="short"),
    ]
    assert Searches("all", lines).by_one_search() == (1, 3)


def test_regrouping_finds_a_normal_placebo_at_the_level_and_a_large_harm_always() -> None:
    draws = np.random.default_rng(1).standard_normal(400)
    assert abs(regrouped(draws, signs=True) - 0.05) < 0.015
    assert regrouped(draws - 50, signs=False) == 1.0
    assert regrouped(np.full(10, 0.1), signs=False) == 0.0, "without any spread there is no test"


def test_what_is_promised_is_the_formulas_power() -> None:
    """Of 20 times -3 and -1: mean -2, sd sqrt(40 / 39)."""
    assert math.isclose(promised(np.array([-3.0, -1.0] * 20)), power(-2 / math.sqrt(40 / 39), 5))


def test_cells_count_by_their_searches() -> None:
    """(1 x 10 + 3 x 30) / 40; drawing equal numbers again gives no width."""
    cells = [np.full(10, 1.0), np.full(30, 3.0)]
    assert mean_over(cells, lambda cell: float(cell.mean())) == 2.5
    assert over_cells(cells, lambda cell: float(cell.mean())) == (2.5, 2.5, 2.5)
    draws = np.random.default_rng(2).standard_normal(400)
    rate, low, high = over_cells([draws], lambda cell: float(cell.mean()))
    assert math.isclose(rate, draws.mean())
    assert abs((high - low) / (2 * 1.96 * draws.std() / 20) - 1) < 0.15, "the width of the normal interval"


def test_the_report_says_whether_what_is_required_is_met() -> None:
    quiet = [-0.02, -0.01, 0, 0.01, 0.02]
    few = [each for number in range(30) for each in study(number, quiet)]
    many = [each for number in range(40) for each in study(number, quiet)]
    assert "below 0.10: 0.1157, missed" in report(few)
    assert "below 0.10: 0.0881, met" in report(many)
    assert "at least 0.90: 1.000, met" in report(many)
    assert "0 of 40: 0.0 % [0.0, 8.8]" in report(many)


def test_the_page_shows_what_its_data_say() -> None:
    page = (ROOT / "docs" / "calibration.md").read_text(encoding="utf-8")
    for part in counted(read([ROOT / "benchmarks" / "calibration.jsonl"])):
        assert part in page, part
