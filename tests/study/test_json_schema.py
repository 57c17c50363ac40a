"""The schema for editors and the reference table: made from the types, so both agree with what is checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import jsonschema
import pytest
from annotated_types import Gt, Lt

from kdstudy.plugins import POLICIES, TRANSFERS
from kdstudy.study.fields import fields_of
from kdstudy.study.json_schema import argument_texts, json_schema, type_schema
from kdstudy.study.key_table import key_table
from kdstudy.study.schema import StudyFile
from kdstudy.study.yaml_text import parse_text
from tests.study.files import STUDY, spoilt

STUDIES = Path(__file__).parents[2] / "studies"


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def tree(text: str) -> dict[str, Any]:
    return parse_text(text, "x")[0]


SHIPPED = [path.read_text(encoding="utf-8") for path in sorted(STUDIES.glob("*.yaml"))]


@pytest.mark.parametrize("text", [STUDY, *SHIPPED])
def test_takes_right_studies(validator: jsonschema.Draft202012Validator, text: str) -> None:
    validator.validate(tree(text))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("seed: 3", "seeed: 3"),
        ("seed: 3", "seed: -1"),
        ("seed: 3", "seed: {int: [1, 3]}"),
        ("{log: [0.01, 0.3]}", "-1"),
        ("{log: [0.01, 0.3]}", "{log: [0, 1]}"),
        ("{log: [0.01, 0.3]}", "{log: [1]}"),
        ("[32, 64]", "[32, big]"),
        ("resnet8,", "resnet9,"),
        ("shortcut: A", "shortcut: C"),
        ("- none", "- nothing"),
        ("- none", "- multistep"),
        ("weight:", "wieght:"),
        ("trials_per_arm: 6", "trials_per_arm: 0"),
        ("trials_per_arm: 6", "budget: {days: 1}"),
        ("trials_per_arm: 6", "budget: {trials: 6, hours: 1}"),
        ("{int: [1, 3]}, gain", "2, label: constant, gain"),
        ("{int: [1, 3]}, gain", "2, label: a/b, gain"),
        ("{shortcut: A}", "{shortcut: A, label: x}"),
        ("milestones: [2, 3], ", ""),
        ("confirm: {seeds: 2}", "layers: [[a]]"),
        ("- none", "- jacobian: {normalise: running}"),
    ],
)
def test_refuses_wrong_ones(validator: jsonschema.Draft202012Validator, old: str, new: str) -> None:
    assert not validator.is_valid(tree(spoilt(old, new)))


def test_takes_plugins_of_ones_own(validator: jsonschema.Draft202012Validator) -> None:
    validator.validate(tree(spoilt("- none", "- my_package.method:Mine")))
    validator.validate(tree(spoilt("- none", "- my_package.method:Mine: {strength: 3}")))


@pytest.mark.parametrize("name", ["jacobian", "hessian"])
@pytest.mark.parametrize("kind", ["batch", "sample", "teacher", "{choice: [batch, teacher]}"])
def test_takes_todays_norms(validator: jsonschema.Draft202012Validator, name: str, kind: str) -> None:
    validator.validate(tree(spoilt("- none", f"- {name}: {{normalise: {kind}}}")))


def test_takes_labels(validator: jsonschema.Draft202012Validator) -> None:
    validator.validate(tree(spoilt("{int: [1, 3]}, gain", "2, label: reversed, gain")))


def test_options_carry_their_documentation() -> None:
    items = json_schema()["properties"]["arms"]["properties"]["policies"]["items"]
    interval = items["anyOf"][2]["properties"]["layerwise"]["properties"]["interval"]
    assert interval["default"] == 25 and interval["description"].startswith("Epochs between updates")


@pytest.mark.parametrize("registry", [TRANSFERS, POLICIES], ids=lambda registry: registry.kind)
def test_every_option_of_a_plugin_is_documented(registry: Any) -> None:
    for name in registry:
        assert registry.options(name).keys() <= argument_texts(registry.load(name)).keys(), name


def test_the_readme_holds_the_reference_table() -> None:
    readme = (STUDIES / "README.md").read_text(encoding="utf-8")
    assert key_table() in readme, "paste what `python -m kdstudy.study.key_table` prints"


def test_the_table_names_every_key_once() -> None:
    table = key_table()
    for name, declared in fields_of(StudyFile).items():
        inner = fields_of(declared.section) if declared.section else ()
        keys = [f"{name}.{key}" for key in inner] or [name]
        assert all(table.count(f"\n| `{key}` |") == 1 for key in keys)


def test_the_text_depends_on_no_release_of_pydantic() -> None:
    """Pydantic 2.10 wrote 0.0 for 0 and left out ``additionalProperties`` where it is true."""
    share = type_schema(Annotated[float, Gt(0), Lt(1)])
    assert repr([share["exclusiveMinimum"], share["exclusiveMaximum"]]) == "[0, 1]"
    assert type_schema(dict[str, Any]) == {"type": "object"}
