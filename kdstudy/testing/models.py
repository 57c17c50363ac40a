"""What every network promises."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kdstudy.layerwise import LayerPair, layer_groups, match_layers
from kdstudy.models import build_model, trace_maps
from kdstudy.plugins import MODELS

CLASSES = 5


class ModelSuite:
    """Tests of one network; derive from it and set `plugin`.

    Attributes:
        plugin: Registered name, or ``package.module:Name``.
        options: Options the network is built with, where its defaults do not do.
        shape: (C, H, W) of the images it is tried on.
    """

    plugin: str
    options: ClassVar[dict[str, Any]] = {}
    shape: tuple[int, int, int] = (3, 32, 32)

    def build(self, seed: int = 0) -> nn.Module:
        """Return the network for five classes."""
        grey = (0.5,) * self.shape[0]
        return build_model(
            self.plugin, self.options, num_classes=CLASSES, image_shape=self.shape, mean=grey, std=grey, seed=seed
        )

    def images(self, rows: int = 2) -> Tensor:
        """Return images in [0, 1], the same at every call."""
        return torch.rand(rows, *self.shape, generator=torch.Generator().manual_seed(0))

    def layers(self, module: nn.Module) -> tuple[LayerPair, ...]:
        """Return the crucial layers of the network against itself."""
        own = trace_maps(module, self.shape)
        return match_layers(own, own)

    def test_it_gives_logits_in_train_and_eval_mode(self) -> None:
        """Logits (B, K), finite, and the same twice in eval mode, which changes no statistics."""
        module, batch = self.build(), self.images()
        with torch.no_grad():
            logits = module.eval()(batch)
            statistics = {key: value.clone() for key, value in module.named_buffers()}
            assert torch.equal(module(batch), logits)
            assert all(torch.equal(value, statistics[key]) for key, value in module.named_buffers())
            trained = module.train()(batch)
        for each in (logits, trained):
            assert each.shape == (len(batch), CLASSES)
            assert each.isfinite().all()

    def test_its_weights_depend_on_the_seed_alone(self) -> None:
        """A trial's initial weights are a function of its seed, whatever happened before in the process."""
        mine = self.build().state_dict()
        torch.manual_seed(1)
        again, other = self.build().state_dict(), self.build(seed=1).state_dict()
        assert all(torch.equal(mine[key], again[key]) for key in mine)
        assert any(not torch.equal(mine[key], other[key]) for key in mine)

    def test_its_crucial_layers_shrink_with_depth(self) -> None:
        """`layers: auto` finds at least two layers, whose grids shrink, or stay as they are throughout."""
        sizes = [pair.student_shape[1] for pair in self.layers(self.build().eval())]
        assert len(sizes) >= 2
        assert sizes == sorted(set(sizes), reverse=True) or len(set(sizes)) == 1

    def test_each_parameter_is_in_exactly_one_layer_group(self) -> None:
        """Every parameter has one learning rate."""
        module = self.build().eval()
        names = [pair.student for pair in self.layers(module)]
        groups = layer_groups(module, names, self.shape)
        assert list(groups) == [*names, "head"]
        grouped = [parameter for group in groups.values() for parameter in group]
        assert sorted(grouped) == sorted(parameter for parameter, _ in module.named_parameters())

    def test_nothing_works_in_place(self) -> None:
        """An activation that overwrites its input would overwrite the map that was recorded."""
        assert not [name for name, child in self.build().named_modules() if getattr(child, "inplace", False)]

    def test_it_is_documented(self) -> None:
        """`kdstudy models NAME` has something to print."""
        assert (MODELS.load(self.plugin).__doc__ or "").strip()
