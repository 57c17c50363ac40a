"""How to reproduce a study: commands, fingerprints and environment, for the report."""

from __future__ import annotations

from typing import Any

from kdstudy.ledger import git_state
from kdstudy.plugins import allowing
from kdstudy.report.model import StudyReport


def commands(study: StudyReport) -> list[tuple[str, str]]:
    """Return commands and what each does."""
    study_id, needed = (
        study.record.id,
        allowing((name for _, name in study.study.plugins()), study.record.environment.get("plugins")),
    )
    found = [
        (f"kdstudy run STUDY.yaml{needed}", "the whole study from its file, printed below: the same proposals"),
        (f"kdstudy compare {study_id}", "the numbers at the top of this page"),
    ]
    if study.chosen is not None:
        found += [
            (
                f"kdstudy reproduce {study_id}{needed}",
                f"trial {study.chosen.number}, the student to take home, again and compared",
            ),
            (f"kdstudy show {study_id} --yaml", "that trial as a study file without ranges"),
            (f"kdstudy export {study_id} --format safetensors -o student{needed}", "that student"),
        ]
    return found


def facts(study: StudyReport) -> list[tuple[str, str]]:
    """Return fingerprints and environment, those that decide the numbers first; what is unknown is left out."""
    record, environment = study.record, study.record.environment
    cpu = environment.get("cpu") or {}
    versions = environment.get("versions") or {}
    found: list[tuple[str, Any]] = [
        ("seed", record.seed),
        ("data folder", record.dataset.place),
        ("data fingerprint", record.dataset.fingerprint),
        ("teacher weights (sha256)", record.teacher.sha256),
        *((f"begun with {name} (sha256)", sha256) for name, sha256 in (record.teacher.weights or {}).items()),
        ("weights of the student to take home (sha256)", getattr(study.chosen, "weights_sha256", None)),
        ("code", _code(environment)),
        ("Python", environment.get("python")),
        ("packages", ", ".join(f"{name} {version}" for name, version in versions.items()) or None),
        ("platform", environment.get("platform")),
        ("processor", f"{cpu['model']}, {cpu.get('cores')} cores" if cpu.get("model") else None),
        ("numerics", _numerics(study)),
    ]
    return [(name, str(value)) for name, value in found if value is not None]


def _code(environment: dict[str, Any]) -> str | None:
    state = git_state(environment)
    if not state:
        return None
    return f"commit {state['commit']}" + (", with uncommitted changes" if state.get("dirty") else "")


def _numerics(study: StudyReport) -> str | None:
    """Return what the trials' numbers depended on, if that was the same for all."""
    every = {
        tuple(sorted((name, str(value)) for name, value in t.numerics.items())) for t in study.trials if t.numerics
    }
    if len(every) != 1:
        return f"{len(every)} different settings; see each trial" if every else None
    return ", ".join(f"{name} {value}" for name, value in every.pop())
