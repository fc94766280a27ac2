"""Where backbones compute: `drillcore.devices`, which the heads share."""

from drillcore.devices import exact_computing, fastest_threads, resolve_device

__all__ = ["exact_computing", "fastest_threads", "resolve_device"]
