"""What a driver sees to before anything starts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kdstudy.errors import StoreError
from kdstudy.ledger import LeaseOwner, Ledger, StudyRecord
from kdstudy.runner.driver import resume_study
from kdstudy.storage import Store
from tests.configs import TEXT


def test_a_study_is_resumed_in_its_own_store_or_not_at_all(tmp_path: Path) -> None:
    ledger_url, tracking = f"sqlite:///{tmp_path}/ledger.db", f"sqlite:///{tmp_path}/mlflow.db"
    own, empty, other = (Store.at(str(tmp_path / name), ledger_url, tracking) for name in ("own", "empty", "other"))
    identity = own.create()
    other.create()
    text = TEXT.format(transfer="attention", policy="constant", epochs=1, base_lr=0.1)
    with Ledger.open(ledger_url, create=True) as ledger:
        ledger.create_study(StudyRecord("tiny-00000001", "tiny", 3, text, environment={"store": identity}))
        for wrong, found in ((empty, "missing"), (other, (tmp_path / "other" / "store-id").read_text()[:8])):
            with pytest.raises(StoreError, match=f"store-id {found}, not {identity[:8]}") as error:
                resume_study("tiny", wrong)
            assert "\n" not in str(error.value)
            study = ledger.study("tiny-00000001")
            assert (study.status, study.message) == ("interrupted", str(error.value))
            ledger.acquire_lease(study.id, owner := LeaseOwner.here())  # refused if the driver had kept it
            ledger.release_lease(study.id, owner)
    assert not (tmp_path / "empty").exists(), "a store that is not there is not made anew"
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["store-id"]
    shutil.move(tmp_path / "own", tmp_path / "moved")
    assert Store.at(str(tmp_path / "moved")).create(identity) == identity, "a store may move"
