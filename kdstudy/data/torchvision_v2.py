"""torchvision's transforms, for whoever needs them at once: they take seconds to import."""

from kdstudy.data.torchvision_import import import_torchvision

import_torchvision()

from torchvision.transforms import v2  # noqa: E402 -- only now can it be imported

__all__ = ["v2"]
