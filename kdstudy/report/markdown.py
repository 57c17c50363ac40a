"""The report as Markdown: for a pull request or a note."""

from __future__ import annotations

from collections.abc import Sequence

from kdstudy.analysis import Answer, importance_basis
from kdstudy.report.answer_text import arm_cells, footnote, ran_with_title, take_home_text, value_cells
from kdstudy.report.comparison_text import footnotes
from kdstudy.report.model import Report, StudyReport
from kdstudy.report.provenance import commands, facts
from kdstudy.report.verdicts import advice_of, decimals_of, headline, name_of, statements
from kdstudy.results import FINISHED_STATES, NONE, brief, duration, markdown_table, percent
from kdstudy.study import ArmId

_SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\`*_[]<>|#"})


def to_markdown(report: Report) -> str:
    """Return the report; figures become tables."""
    blocks = [*_warnings(report), f"# {_text(headline(report.comparison))}", _lead(report), *_first_screen(report)]
    if report.comparison.rows:
        blocks.append("\n\n".join(_text(note) for note in footnotes(report.comparison)))
    for study in report.studies:
        blocks += _study(study)
    return "\n\n".join(blocks) + "\n"


def to_summary(report: Report) -> str:
    """Return what fits a run's description: warnings, verdicts, the arms, and what to take home."""
    blocks = [*_warnings(report), f"## {_text(headline(report.comparison))}", *_first_screen(report)]
    return "\n\n".join(blocks) + "\n"


def _warnings(report: Report) -> list[str]:
    return [f"> **Warning:** {_text(warned.message)}." for warned in report.comparison.warnings]


def _first_screen(report: Report) -> list[str]:
    comparison = report.comparison
    decimals, several = decimals_of(comparison), len(comparison.answers) > 1
    told = [block for answer in comparison.answers for block in _answer(answer, decimals, named=several)]
    advice = advice_of(comparison)
    return [*_statements(report), *told, *([] if advice is None else [f"Advice: {_text(advice)}."])]


def _answer(answer: Answer, decimals: int, *, named: bool) -> list[str]:
    """Return the arms, what they ran with, and what to take home."""
    blocks = [f"`{answer.study_id}`:"] if named else []
    if any(each.scores for each in answer.arms):
        arms = arm_cells(answer, decimals)
        blocks.append(_table(arms.header, arms.rows))
        values = [_table(each.header, each.rows) for each in value_cells(answer)]
        if values:
            blocks += [ran_with_title(answer), *values, *map(_text, footnote(answer))]
    if answer.take_home is not None:
        blocks.append(f"{_text(take_home_text(answer, decimals))} `{answer.take_home.command}`")
    return blocks


def _statements(report: Report) -> list[str]:
    lines = []
    for each in statements(report.comparison):
        lines.append(
            f"- {_text(name_of(each.row, report.comparison))}: **{_text(each.verdict)}**: {_text(each.sentence)}"
        )
    return ["\n".join(lines)] if lines else []


def _lead(report: Report) -> str:
    return "\n".join(
        f"Study `{study.record.id}`: {study.record.status}, data {_text(study.study.data.name)}, "
        f"teacher {_text(study.study.teacher.model.title)}, student {_text(study.student)}."
        for study in report.studies
    )


def _study(study: StudyReport) -> list[str]:
    blocks = [f"## {_text(study.record.id)}", "### Arms", _arms(study)]
    shares = [each for each in study.search if each.importance]
    if shares:
        blocks += [
            "### What mattered in the search",
            "\n".join(
                f"- {_text(each.arm)} ({importance_basis(each.rated)}): "
                + ", ".join(f"{_text(path)} {share:.0%}" for path, share in each.importance.items())
                for each in shares
            ),
        ]
    return [*blocks, "### Cost", _cost(study), "### How to reproduce", _reproduce(study), "### Trials", _trials(study)]


def _arms(study: StudyReport) -> str:
    header = ["arm", "trials", *FINISHED_STATES, "best val %", "runs", "test %", "sd of runs"]
    return _table(
        header,
        [
            [
                ArmId.from_json(row["arm"]).name,
                str(row["trials"]),
                *(str(row[state]) for state in FINISHED_STATES),
                percent(row["best_val"]),
                str(row["confirmed"]),
                percent(row["test_mean"]),
                percent(row["test_sd"]),
            ]
            for row in study.arms
        ],
    )


def _cost(study: StudyReport) -> str:
    cost = study.cost
    rows = [
        [
            arm.arm,
            duration(arm.search),
            duration(arm.confirm),
            str(arm.epochs),
            NONE if arm.per_epoch is None else f"{arm.per_epoch:.2f} s",
            duration(arm.overhead),
        ]
        for arm in cost.arms
    ]
    header = ["arm", "search", "confirmation", "epochs", "one epoch", "outside epochs"]
    return (
        f"{duration(cost.wall)} from start to last result; teacher {duration(cost.teacher)}.\n\n{_table(header, rows)}"
    )


def _reproduce(study: StudyReport) -> str:
    lines = [f"- `{command}`: {meaning}" for command, meaning in commands(study)]
    table = _table(["what", "value"], [[name, value] for name, value in facts(study)])
    fence = "`" * max(3, _longest_run(study.record.text, "`") + 1)
    return "\n".join(lines) + f"\n\n{table}\n\n{fence}yaml\n{study.record.text.rstrip()}\n{fence}"


def _trials(study: StudyReport) -> str:
    reasons = any(trial.reason for trial in study.trials)
    rows = []
    for trial in study.trials:
        values = ", ".join(f"{path.rpartition('.')[2]} {brief(value)}" for path, value in trial.values.items())
        phase = f"confirm seed {trial.index}" if trial.phase == "confirm" else "search"
        phase += ", later" if trial.exploratory else ""
        scores = [percent(trial.val), percent(trial.test), duration(trial.seconds)]
        rows.append([str(trial.number), trial.arm, phase, str(trial.search), trial.state, *scores, values])
        rows[-1] += [trial.reason or ""] * reasons
    header = ["trial", "arm", "phase", "search", "state", "val %", "test %", "time", "values", *["reason"] * reasons]
    return _table(header, rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return markdown_table(header, [[_text(cell) for cell in row] for row in rows])


def _text(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return " ".join(text.split()).translate(_SPECIAL)


def _longest_run(text: str, character: str) -> int:
    longest = run = 0
    for each in text:
        run = run + 1 if each == character else 0
        longest = max(longest, run)
    return longest
