"""Files of weights by name, joined and compared."""

from __future__ import annotations

from kdstudy.results import weights_changed, weights_together

A, B, C = "a" * 64, "b" * 64, "c" * 64
APART = f"best.pt @{'b' * 12}"


def test_files_of_one_name_are_both_kept() -> None:
    joined = weights_together([{"best.pt": A}, {"net": C}, {"best.pt": B}, {"best.pt": A}])
    assert joined == {"best.pt": A, "net": C, APART: B}
    assert weights_together([joined, {"best.pt": B}]) == joined
    assert weights_together([]) == {}


def test_weights_are_changed_where_their_name_is_known_and_their_file_is_not() -> None:
    recorded = {"best.pt": A, APART: B}
    for here in ({"best.pt": A}, {"best.pt": B}, {"net": C}, {"best.pt": A, APART: B}, {}):
        assert list(weights_changed(recorded, here)) == []
    assert list(weights_changed(recorded, {"best.pt": C})) == [("best.pt", A, C)]
    assert list(weights_changed({}, {"best.pt": C})) == []


def test_a_record_with_one_file_of_a_name_that_two_networks_have_is_read() -> None:
    """Earlier versions let the student's take the place of the teacher's."""
    assert list(weights_changed({"best.pt": B}, {"best.pt": A, APART: B})) == []
    assert [change.here for change in weights_changed({"best.pt": B}, {"best.pt": A, APART: C})] == [A, C]
