"""What a trial is built from, plug-ins of a user's own included."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from kdstudy.layerwise import Policy
from kdstudy.seeds import derive
from kdstudy.study import parse_study
from kdstudy.transfer import NoTransfer
from kdstudy.trial.build import build_policy
from tests.configs import trial_config

LAYERS = ("a", "b", "c")
SIZES = (10, 20, 30)


class Plain(Policy):
    """A policy of a user's own that takes no seed."""

    def __init__(self, layers: Sequence[str], *, gain: float = 1.0) -> None:
        super().__init__(layers)
        self.gain = gain

    def due(self, epoch: int, epochs: int) -> bool:
        return False


class Drawing(Plain):
    """One that draws while it is built."""

    def __init__(self, layers: Sequence[str], seed: int, *, gain: float = 1.0) -> None:
        super().__init__(layers, gain=gain)
        self.drawn, self.seed = seed % 7, seed


class Sized(Plain):
    """One that asks for the sizes of its layers, and has an option that is called like what it does not ask for."""

    def __init__(self, layers: Sequence[str], parameters: Sequence[int], *, gain: float = 1.0, seed: int = 9) -> None:
        super().__init__(layers, gain=gain)
        self.parameters, self.option = tuple(parameters), seed
        self.largest = max(parameters)


@pytest.mark.parametrize("name", ["constant", "decay", "layerwise", "walk", "placebo"])
def test_policies_are_built_with_a_seed_of_their_own_and_the_sizes_of_their_layers(name: str) -> None:
    policy = build_policy(trial_config(policy=name, epochs=30).policy, LAYERS, SIZES, seed=5)
    assert (policy.seed, policy.parameters) == (derive(5, "policy"), SIZES)


def test_a_users_policy_may_take_seed_and_sizes_or_not() -> None:
    plain, drawing, sized = (
        build_policy(
            trial_config(policy=f"{{'tests.trial.test_build:{name}': {{gain: 2.0}}}}").policy, LAYERS, SIZES, seed=5
        )
        for name in ("Plain", "Drawing", "Sized")
    )
    assert isinstance(plain, Plain) and isinstance(drawing, Drawing) and isinstance(sized, Sized)
    assert plain.gain == drawing.gain == sized.gain == 2.0
    assert plain.seed == drawing.seed == sized.seed == derive(5, "policy")
    assert plain.parameters == drawing.parameters == sized.parameters == SIZES
    assert drawing.drawn == derive(5, "policy") % 7
    assert (sized.largest, sized.option) == (30, 9)


def test_the_older_names_of_a_methods_attributes_still_count() -> None:
    with pytest.warns(DeprecationWarning, match="cache_neutral_options"):

        class Older(NoTransfer):
            """Written before the names changed."""

            indifferent = frozenset({"weight"})

    assert Older.cache_neutral_options == frozenset({"weight"})
    assert not Older.needs_directions


def test_the_corners_of_a_study_are_the_ends_of_its_ranges() -> None:
    study = parse_study("""
name: corners
data: {name: synthetic}
teacher: {model: resnet8, epochs: 1}
student: {model: {choice: [resnet8, resnet14]}}
train: {epochs: 1, batch_size: 8, base_lr: {log: [0.01, 0.1]}}
arms: {transfers: [none, {kd: {weight: {uniform: [1.0, 2.0]}}}], policies: [constant]}
search: {trials_per_arm: 4}
""")
    found = [(name, each.student.model.name, each.train.base_lr) for name, each in study.corners()]
    assert found == [
        ("none/constant at its first ends", "resnet8", 0.01),
        ("none/constant at its last ends", "resnet14", 0.1),
        ("kd/constant at its first ends", "resnet8", 0.01),
        ("kd/constant at its last ends", "resnet14", 0.1),
    ]
    assert study.corner(study.arms[1], -1).transfer.options["weight"] == 2.0
    assert [each.student.model.name for each in study.student_corners()] == ["resnet8", "resnet14"]
