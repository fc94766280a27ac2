"""What Prometheus reads at /metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest

from drillcore.json_types import Json

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counters and histograms of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        made: Json = {"namespace": "drillcore", "registry": self.registry}
        self.requests = Counter("requests", "Requests answered.", ("route", "model", "status"), **made)
        self.seconds = Histogram(
            "request_seconds", "From the request's head to its answer.", ("route", "model"), buckets=_SECONDS, **made
        )
        self.stages = Histogram(
            "stage_seconds", "Where the time of an image goes.", ("model", "stage"), buckets=_SECONDS, **made
        )
        self.batches = Histogram("batch_images", "Images of a batch.", ("model",), buckets=_IMAGES, **made)
        self.images = Counter("images", "Images answered.", ("model",), **made)
        self.refused = Counter("images_refused", "Images that were refused, by reason.", ("model", "reason"), **made)
        self.failed = Counter(
            "batch_failures", "Batches that failed and were run again image by image.", ("model",), **made
        )
        self.queue = Gauge("queue_images", "Images that wait for a batch.", ("model",), **made)
        self.in_work = Gauge("requests_in_work", "Requests in work.", **made)
        self.pixels = Gauge("pixels_at_work", "Pixels of large images at work.", **made)
        self.connections = Gauge("connections", "Connections that are open.", **made)
        self.closed = Counter(
            "connections_closed", "Connections that the server closed, by the cause.", ("why",), **made
        )
        self.held = Gauge("held_bytes", "Bytes of bodies and pixels held.", **made)
        self.swaps = Counter(
            "swaps", "New versions, by how they ended: swapped or refused.", ("model", "result"), **made
        )
        self.version = Gauge("model_version", "The version that answers.", ("model",), **made)
        self.model = Info("model", "What answers.", ("model",), **made)
        ProcessCollector(registry=self.registry)

    def statistics(self, model: str) -> dict[str, int]:
        """Return how many images a model has answered, in how many batches, by the inference protocol's names."""
        names = {"inference_count": "drillcore_images_total", "execution_count": "drillcore_batch_images_count"}
        found = {key: self.registry.get_sample_value(name, {"model": model}) for key, name in names.items()}
        return {key: int(value or 0) for key, value in found.items()}

    def text(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        return generate_latest(self.registry)
