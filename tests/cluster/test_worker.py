"""What a trial's process makes of what it finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdstudy.cluster.worker import _prepared
from kdstudy.errors import StoreError
from kdstudy.storage import DiskFolder


def test_a_teacher_that_has_gone_is_the_stores_failure_and_no_trials(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"holds no teacher; .*see that the store is there and whole") as error:
        _prepared(DiskFolder(tmp_path / "teachers" / "key"))
    assert "\n" not in str(error.value)
