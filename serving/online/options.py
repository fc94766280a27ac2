"""What a server may be told; every limit has a default that a stranger cannot turn against it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from drillcore.errors import InputError
from drillcore.remote import is_loopback

MIB = 2**20
_SECONDS = (
    "deadline",
    "head_seconds",
    "idle_seconds",
    "send_seconds",
    "read_seconds",
    "stop_seconds",
    "poll_seconds",
)
_COUNTS = (
    "max_body",
    "max_json",
    "max_parts",
    "max_pixels",
    "max_pixels_at_work",
    "max_requests",
    "max_memory",
    "max_connections",
)


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How requests of one model share batches.

    Attributes:
        batch: images in a batch at most.
        delay: seconds that a batch waits at most for images which are on their way.
        queue: images that wait at most; more are answered 429.
    """

    batch: int = 32
    delay: float = 0.005
    queue: int = 256

    def __post_init__(self) -> None:
        if self.batch < 1 or self.queue < 1 or not 0 <= self.delay <= 10:
            raise InputError(
                f"a batch of {self.batch}, a queue of {self.queue} and a delay of {self.delay:g} s: batch and queue "
                "must be 1 or more, the delay from 0 to 10 s"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """One frozen object for a whole server.

    Attributes:
        host: address it listens on; beyond loopback only with API keys.
        port: 0: any free one.
        device: "auto", "cpu" or "cuda"; "cuda" is an error where there is none, unless `allow_cpu`.
        allow_cpu: fall back to the CPU where CUDA was asked for.
        threads: CPU threads of one batch; 0: the cores there are, divided by the lanes.
        lanes: batches of a model that run at the same time; 0: see `lanes_and_threads`.
        batching: limits of models that `per_model` does not name.
        per_model: limits by the name a model is served under.
        deadline: seconds after which a request is answered 504 and dropped, unless X-Deadline-Ms says less.
        max_body: bytes of a request's body.
        max_json: bytes of JSON in a request: numbers grow twentyfold when they are read.
        max_parts: files and fields of a multipart body.
        max_pixels: of an image; larger ones are refused before they are decoded.
        max_pixels_at_work: of large images at a time, from decoding to the answer; others wait for their turn.
        max_requests: requests in work at a time; more are answered 503.
        max_requests_per_client: of these, of one client; 0: half of them.
        max_memory: bytes of bodies and pixels held at a time; more are answered 503.
        max_connections: open at a time; fewer where the limit of open files does not allow them.
        max_connections_per_address: of these, of one address (of IPv6: of one /64); 0: half of them.
        head_seconds: the head of a request must have come by then, from the connection or its first byte.
        idle_seconds: a connection may wait so long for its next request.
        send_seconds: a client must go on taking an answer within that time.
        read_seconds: a body must have come by then.
        drain_seconds: from SIGTERM, when readiness ends, to closing the door: load balancers need a moment.
        stop_seconds: what was taken must be finished by then.
        poll_seconds: between two looks at the pointers.
        sketch_seconds: between two writings of what `drillcore drift` reads; 0: nothing is kept.
        api_keys: any of them opens; none: open to all who reach the address, which must be loopback then.
        cors_origins: origins whose pages may ask; none by default.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    device: str = "auto"
    allow_cpu: bool = False
    threads: int = 0
    lanes: int = 0
    batching: BatchLimits = BatchLimits()
    per_model: Mapping[str, BatchLimits] = field(default_factory=dict)
    deadline: float = 30.0
    max_body: int = 64 * MIB
    max_json: int = 8 * MIB
    max_parts: int = 64
    max_pixels: int = 64_000_000
    max_pixels_at_work: int = 128_000_000
    max_requests: int = 512
    max_requests_per_client: int = 0
    max_memory: int = 1024 * MIB
    max_connections: int = 1024
    max_connections_per_address: int = 0
    head_seconds: float = 10.0
    idle_seconds: float = 30.0
    send_seconds: float = 30.0
    read_seconds: float = 60.0
    drain_seconds: float = 0.0
    stop_seconds: float = 60.0
    poll_seconds: float = 0.5
    sketch_seconds: float = 60.0
    api_keys: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.api_keys and not is_loopback(self.host):
            raise InputError(
                f"{self.host} can be reached from elsewhere: give API keys (--api-keys FILE or DRILLCORE_API_KEYS), or "
                "listen on 127.0.0.1"
            )
        if "*" in self.cors_origins:
            raise InputError(
                "--cors-origin takes origins such as https://lab.example.org; * would open it to every page"
            )
        for name in _SECONDS:
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} must be positive, not {getattr(self, name)}")
        if not 0 <= self.sketch_seconds < math.inf:
            raise InputError(f"sketch_seconds must be 0 (nothing is kept) or more, not {self.sketch_seconds}")
        if self.lanes < 0 or self.threads < 0:
            raise InputError("lanes and threads must be 0 (by the cores there are) or more")
        for name in ("max_requests_per_client", "max_connections_per_address"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must be 0 (half of all) or more, not {getattr(self, name)}")
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be 1 or more, not {getattr(self, name)}")

    def lanes_and_threads(self, cores: int, *, cuda: bool) -> tuple[int, int]:
        """Return lanes, and CPU threads of each.

        Whole batches side by side give more images a second than one batch on all cores, and leave no threads that
        wait in a loop; fewer threads answer a single image later. Between the two: as many lanes as threads. On CUDA
        one lane fills the device.

        >>> [ServeOptions().lanes_and_threads(cores, cuda=False) for cores in (1, 2, 4, 8, 16)]
        [(1, 1), (2, 1), (2, 2), (3, 2), (4, 4)]
        """
        lanes = self.lanes or (1 if cuda else math.ceil(math.sqrt(cores)))
        return lanes, self.threads or max(1, cores // lanes)

    def limits_of(self, model: str) -> BatchLimits:
        """Return how requests of a model share batches."""
        return self.per_model.get(model, self.batching)
