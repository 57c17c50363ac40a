"""Where a study's files lie: one folder, everything in it relative to that folder.

Layout::

    kdstudy-data/
    ├── ledger.db            the record (unless --ledger points elsewhere)
    ├── mlflow.db            MLflow's runs (unless --tracking-uri points elsewhere)
    ├── artifacts/           MLflow's artifacts
    ├── teachers/<key>/      trained or loaded teachers, by content
    ├── studies/<ID>/<n>/    trial n: checkpoints/ while it runs, student/ when it is done
    ├── cache/<ID>/          what trials share of the teacher (unless KDSTUDY_CACHE points elsewhere); may be deleted
    └── ray/                 Ray Tune's own notes; may be deleted at any time
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from kdstudy.errors import StoreError

DEFAULT_STORE = "kdstudy-data"


@dataclass(frozen=True)
class Store:
    """The places of a store.

    Args:
        root: The store's folder, absolute.
        ledger_url: SQLAlchemy URL of the ledger.
        tracking_uri: MLflow tracking URI.
    """

    root: Path
    ledger_url: str
    tracking_uri: str

    @classmethod
    def at(cls, root: str | None = None, ledger: str | None = None, tracking_uri: str | None = None) -> Store:
        """Return the store that options, else environment variables, else defaults name. Nothing is created.

        Args:
            root: Folder; else ``KDSTUDY_STORE``, else ``./kdstudy-data``.
            ledger: SQLAlchemy URL; else ``KDSTUDY_LEDGER``, else SQLite in the folder.
            tracking_uri: MLflow URI; else ``MLFLOW_TRACKING_URI``, else SQLite in the folder.

        Raises:
            StoreError: The folder's path cannot stand in a database address.
        """
        folder = Path(root or os.environ.get("KDSTUDY_STORE") or DEFAULT_STORE).absolute()
        if found := set("?#%") & set(str(folder)):
            raise StoreError(
                f"{folder}: the path of a store may not hold {' '.join(sorted(found))}, which database "
                "addresses read otherwise; choose another --store"
            )
        return cls(
            root=folder,
            ledger_url=ledger or os.environ.get("KDSTUDY_LEDGER") or f"sqlite:///{folder / 'ledger.db'}",
            tracking_uri=tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder / 'mlflow.db'}",
        )

    @property
    def teachers(self) -> Path:
        """The folder of teachers."""
        return self.root / "teachers"

    @property
    def cache(self) -> Path:
        """The folder of what trials share of the teacher, local to each node; else ``KDSTUDY_CACHE``, absolute."""
        return Path(os.environ.get("KDSTUDY_CACHE") or self.root / "cache").absolute()

    @property
    def artifacts(self) -> Path:
        """The folder of MLflow's artifacts."""
        return self.root / "artifacts"

    @property
    def ray(self) -> Path:
        """The folder of Ray Tune's own notes."""
        return self.root / "ray"

    def study(self, study_id: str) -> Path:
        """Return the folder of one study's trials."""
        return self.root / "studies" / study_id

    def trial(self, study_id: str, number: int) -> Path:
        """Return the folder of one trial."""
        return self.study(study_id) / str(number)

    def create(self) -> None:
        """Create the folder.

        Raises:
            StoreError: It cannot be created or written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.root}: cannot be created ({error.strerror}); choose another --store") from error
        if not os.access(self.root, os.W_OK):
            raise StoreError(f"{self.root}: cannot be written; choose another --store")
