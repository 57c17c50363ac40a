"""A comparison as a caller in Python sees it: as text, as a data frame, as a table of a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from kdstudy.api.html import html_list, html_table, paragraph
from kdstudy.results import ComparisonDocument

if TYPE_CHECKING:
    from pandas import DataFrame

    from kdstudy.analysis import Answer, Row, Warned
    from kdstudy.analysis import Comparison as Found


@final
class Comparison:
    """What one or more studies say of their arms; printed, it is what ``kdstudy compare`` prints.

    Args:
        found: The comparison itself, with every number.
    """

    def __init__(self, found: Found) -> None:
        self.found = found

    @property
    def rows(self) -> tuple[Row, ...]:
        """Every comparison: the studies' own, and exploratory ones."""
        return self.found.rows

    @property
    def verdicts(self) -> tuple[Row, ...]:
        """The comparisons that the studies declared."""
        return self.found.verdicts

    @property
    def answers(self) -> tuple[Answer, ...]:
        """What each study answers beside its verdicts: scores of the arms, the student to take home."""
        return self.found.answers

    @property
    def warnings(self) -> tuple[Warned, ...]:
        """What to know before the verdicts."""
        return self.found.warnings

    def to_json(self) -> ComparisonDocument:
        """Return the document of ``kdstudy compare --json``."""
        return self.found.to_json()

    def to_dataframe(self) -> DataFrame:
        """Return one row per comparison, its columns named as in the document of ``kdstudy compare --json``."""
        from pandas import DataFrame

        return DataFrame([row.to_json() for row in self.rows])

    def __str__(self) -> str:
        from kdstudy.report import render_comparison

        return render_comparison(self.found)

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(self.found.study_ids)}: {len(self.rows)} rows>"

    def _repr_html_(self) -> str:
        from kdstudy.report import arm_cells, decimals_of, headline, name_of, statements, take_home_text

        found, decimals = self.found, decimals_of(self.found)
        parts = [paragraph(headline(found), strong=True)]
        parts.append(html_list(f"Warning: {warned.message}." for warned in found.warnings))
        said = statements(found)
        parts.append(html_list(f"{name_of(each.row, found)}: {each.verdict}: {each.sentence}" for each in said))
        for answer in found.answers:
            if any(arm.scores for arm in answer.arms):
                cells = arm_cells(answer, decimals)
                parts.append(html_table(cells.header, cells.rows))
            parts.append(paragraph(take_home_text(answer, decimals).rstrip(":")))
        return "".join(parts)
