"""Where a study's files lie: one folder, on a disk, a shared file system or in a bucket; all in it relative to it.

Layout::

    kdstudy-data/
    ├── ledger.db            the record (unless --ledger points elsewhere)
    ├── mlflow.db            MLflow's runs (unless --tracking-uri points elsewhere)
    ├── artifacts/           MLflow's artifacts
    ├── teachers/<key>/      trained or loaded teachers, by content
    ├── studies/<ID>/<n>/    trial n: checkpoints/ while it runs, student/ when it is done
    ├── studies/<ID>/report.html   what the study found, on one page
    ├── cache/<ID>/          what trials share of the teacher (unless KDSTUDY_CACHE points elsewhere); may be deleted
    ├── store-id             tells this store from an empty folder of the same path
    └── ray/                 Ray Tune's own notes; may be deleted at any time

In a bucket lie ``teachers``, ``studies`` and ``store-id``; databases cannot, so the ledger and MLflow must be named,
and Tune's notes lie in the driver's own folder.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path

from kdstudy.errors import StoreError
from kdstudy.settings import Settings
from kdstudy.storage.bucket import BucketFolder
from kdstudy.storage.disk import DiskFolder, node_folder
from kdstudy.storage.folder import Folder
from kdstudy.storage.location import folder_at, is_bucket

DEFAULT_STORE = "kdstudy-data"
ID_FILE = "store-id"


@dataclass(frozen=True)
class Store:
    """The places of a store.

    Args:
        folder: What trials and teachers are kept in.
        local: The driver's own folder, absolute: the same one where the store lies on a disk.
        ledger_url: SQLAlchemy URL of the ledger.
        tracking_uri: MLflow tracking URI.
    """

    folder: Folder
    local: Path
    ledger_url: str
    tracking_uri: str

    @classmethod
    def at(cls, root: str | None = None, ledger: str | None = None, tracking_uri: str | None = None) -> Store:
        """Return the store that options, else environment variables, else defaults name. Nothing is created.

        Args:
            root: Folder or ``s3://`` location; else ``KDSTUDY_STORE``, else ``./kdstudy-data``.
            ledger: SQLAlchemy URL; else ``KDSTUDY_LEDGER``, else SQLite in the folder.
            tracking_uri: MLflow URI; else ``MLFLOW_TRACKING_URI``, else SQLite in the folder.

        Raises:
            StoreError: The location cannot be read, the folder's path cannot stand in a database address, or the
                store is in a bucket and a database is not named.
        """
        settings = Settings.read()
        location = root or settings.store or DEFAULT_STORE
        ledger = ledger or settings.ledger
        tracking_uri = tracking_uri or settings.tracking_uri
        if is_bucket(location):
            return cls._in_bucket(location, ledger, tracking_uri)
        path = Path(location).absolute()
        if found := set("?#%") & set(str(path)):
            raise StoreError(
                f"{path}: the path of a store may not hold {' '.join(sorted(found))}, which database "
                "addresses read otherwise; choose another --store"
            )
        return cls(
            folder=DiskFolder(path, marker=path / ID_FILE),
            local=path,
            ledger_url=ledger or f"sqlite:///{path / 'ledger.db'}",
            tracking_uri=tracking_uri or f"sqlite:///{path / 'mlflow.db'}",
        )

    @classmethod
    def _in_bucket(cls, location: str, ledger: str | None, tracking_uri: str | None) -> Store:
        folder = folder_at(location)
        for value, option in ((ledger, "--ledger"), (tracking_uri, "--tracking-uri")):
            if value is None:
                raise StoreError(
                    f"{option}: a store in a bucket holds no database; name one, on a server where other hosts need it"
                )
        assert ledger is not None
        assert tracking_uri is not None
        name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
        return cls(folder, node_folder() / "stores" / name, ledger, tracking_uri)

    @property
    def teachers(self) -> Folder:
        """The folder of teachers."""
        return self.folder / "teachers"

    @property
    def cache(self) -> Path:
        """The folder of what trials share of the teacher; ``KDSTUDY_CACHE``, or a bucket, puts it on each node."""
        elsewhere = isinstance(self.folder, BucketFolder) or Settings.read().cache
        return node_folder() / "targets" if elsewhere else self.local / "cache"

    @property
    def artifacts(self) -> Path:
        """The folder of MLflow's artifacts; an MLflow server has its own place."""
        return self.local / "artifacts"

    @property
    def ray(self) -> Path:
        """The folder of Ray Tune's own notes."""
        return self.local / "ray"

    def study(self, study_id: str) -> Folder:
        """Return the folder of one study's trials."""
        return self.folder / "studies" / study_id

    def trial(self, study_id: str, number: int) -> Folder:
        """Return the folder of one trial."""
        return self.study(study_id) / str(number)

    def create(self, known: str | None = None) -> str:
        """Create what is missing, see that it can be written, and return the store's identity.

        Args:
            known: The identity that it must have; None takes any, and gives a new store one.

        Raises:
            StoreError: It cannot be created or written, or it is another one; then it is left as it is.
        """
        read = self.folder.read(ID_FILE)
        found = None if read is None else read.decode("ascii", "replace")
        if known is not None and known != found:
            raise StoreError(
                f"--store: {self.folder} is not the store that the study was begun with ({ID_FILE} "
                f"{'missing' if found is None else found[:8]}, not {known[:8]}); name that one, or restore it"
            )
        try:
            self.local.mkdir(
                parents=True, exist_ok=True, mode=0o700 if isinstance(self.folder, BucketFolder) else 0o777
            )
        except OSError as error:
            raise StoreError(f"{self.local}: cannot be created ({error.strerror}); choose another --store") from error
        identity = found or secrets.token_hex(16)
        self.folder.write(ID_FILE, identity.encode())
        return identity
