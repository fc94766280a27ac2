"""Where backbones compute: `drillcore.devices`, which the heads share."""

from drillcore.devices import exact_computing, resolve_device

__all__ = ["exact_computing", "resolve_device"]
