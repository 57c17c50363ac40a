"""What `build_model` promises of every network, registered or not."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdstudy.errors import ModelError, PluginError
from kdstudy.layerwise import layer_groups, match_layers
from kdstudy.models import build_model
from kdstudy.models.features import FeatureExtractor, trace
from kdstudy.models.normalised import NORMALISE
from kdstudy.plugins import MODELS

SHAPE = (3, 8, 8)
MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)


def build(name: str = "resnet8", **changes: Any) -> nn.Module:
    options = changes.pop("options", {})
    return build_model(
        name, options, **{"num_classes": 5, "image_shape": SHAPE, "mean": MEAN, "std": STD, "seed": 0, **changes}
    )


def by_hand(images: Tensor) -> Tensor:
    return torch.stack([(images[:, c] - MEAN[c]) / STD[c] for c in range(3)], 1)


class Foreign(nn.Module):
    """A user's network, with layers named their own way."""

    def __init__(self, num_classes: int, in_channels: int, *, width: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1), nn.ReLU())
        self.top = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.top(self.body(images).mean((2, 3)))


class Occupied(Foreign):
    """One that uses the name of our submodule."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes, in_channels)
        self.normalise = nn.Identity()


class Scores(Foreign):
    """One whose forward pass gives a tuple."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images), None


class Fixed(nn.Module):
    """One for images of 4 x 4 only."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(16 * in_channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(images.flatten(1))


def no_module(num_classes: int, in_channels: int) -> str:
    return "not a network"


def test_building_shifts_no_other_random_stream() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    build()
    assert torch.equal(torch.rand(4), expected)


def test_images_are_normalised_inside_by_the_numbers_given() -> None:
    raw = MODELS.load("resnet8")(5, 3)
    network = build()
    raw.load_state_dict({key: value for key, value in network.state_dict().items() if NORMALISE not in key})
    images = torch.rand(2, *SHAPE)
    assert torch.equal(network.eval()(images), raw.eval()(by_hand(images)))


def test_a_networks_own_layer_names_stay() -> None:
    names = [name for name, _ in trace(build(), SHAPE)]
    assert names[0] == NORMALISE
    assert {"layer1", "layer2", "layer3", "fc"} < set(names)
    top = ("normalise", "conv1", "bn1", "relu", "layer", "avgpool", "fc")
    assert all(name.startswith(top) for name in names)


def test_the_normalisation_is_no_crucial_layer() -> None:
    own = [(NORMALISE, (3, 8, 8)), ("body", (4, 4, 4))]
    assert [pair.student for pair in match_layers(own, own)] == ["body"]


def test_a_users_class_is_built_normalised_and_hooked_by_its_own_names() -> None:
    network = build(f"{__name__}:Foreign", options={"width": 6})
    images = torch.rand(2, *SHAPE)
    output = FeatureExtractor(network, ["body"])(images)
    assert torch.equal(output.features[0], network.body(by_hand(images)))
    assert output.logits.shape == (2, 5)


def test_a_users_class_is_matched_and_grouped_like_ours() -> None:
    network, teacher = build(f"{__name__}:Foreign"), build()
    (pair,) = match_layers(trace(network, SHAPE), trace(teacher, SHAPE))
    assert (pair.student, pair.teacher) == ("body", "layer1")
    groups = layer_groups(network, [pair.student], SHAPE)
    assert groups == {"body": ["body.0.weight", "body.0.bias"], "head": ["top.weight", "top.bias"]}


def test_normalisation_survives_copies_and_state_dicts() -> None:
    network = build(mean=(0.3,) * 3).eval()
    images = torch.rand(2, *SHAPE)
    assert torch.equal(copy.deepcopy(network)(images), network(images))
    other = build(seed=1).eval()
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(images), network(images))


def test_normalisation_survives_export() -> None:
    network = build().eval()
    images = torch.rand(2, *SHAPE)
    exported = torch.export.export(network, (images,)).module()
    assert torch.equal(exported(images), network(images))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean": (0.5,)}, "images have 3 channel"),
        ({"std": (1.0, 0.0, 1.0)}, "standard deviations above 0"),
        ({"options": {"depth": 3}}, "unexpected keyword argument 'depth'"),
        ({"name": f"{__name__}:no_module"}, "gave str"),
        ({"name": f"{__name__}:Occupied"}, "'normalise'"),
        ({"name": f"{__name__}:Scores"}, "gave tuple of 2 for one image"),
        ({"name": f"{__name__}:Fixed"}, "does not take images of 3x8x8"),
        ({"name": "vgg8", "image_shape": (3, 7, 8)}, "does not take images of 3x7x8.*choose larger"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        build(**changes)
    assert "\n" not in str(caught.value)


def test_an_unknown_model_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(PluginError, match="resnet8"):
        build("resnet9")
