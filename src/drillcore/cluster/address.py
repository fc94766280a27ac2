"""Where the Dask scheduler is, and which of its connections are allowed: its wire is pickled, so who speaks rules."""

from __future__ import annotations

import importlib.util
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from drillcore.errors import InputError, UnknownNameError, first_line
from drillcore.json_types import Json
from drillcore.remote import is_loopback

if TYPE_CHECKING:
    from distributed import Security

ENGINES = ("local", "dask")
_SCHEMES = ("tcp", "tls")
_REACH_SECONDS = 5.0
_EXPECTED = "an address such as tls://host:8786 is expected"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Dask cluster.

    Attributes:
        scheduler: its address, `tls://host:port` (`tcp://`, or no scheme, on loopback); "": a cluster of processes
            with one thread each is started here, and ends with the run.
        tls_ca: certificate of the authority, PEM; with the next two or without them. None: Dask's own configuration
            (`DASK_DISTRIBUTED__COMM__TLS__...`).
        tls_cert: certificate of this client, PEM.
        tls_key: its key, PEM.
        plain: allow a scheduler beyond loopback without TLS: whoever reaches the port can run code on every worker.
    """

    scheduler: str = ""
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    plain: bool = False

    @classmethod
    def of_parameters(
        cls, scheduler: str = "", tls_ca: str = "", tls_cert: str = "", tls_key: str = "", plain_scheduler: bool = False
    ) -> Cluster:
        """Return the cluster that a flow's parameters name; "" where nothing is said."""
        ca, cert, key = (Path(name) if name else None for name in (tls_ca, tls_cert, tls_key))
        return cls(scheduler, ca, cert, key, plain_scheduler)

    def of_engine(self, engine: str) -> Cluster | None:
        """Return the cluster where the engine is dask; None: it is local.

        Raises:
            UnknownNameError: it is neither.
            InputError: a scheduler for the local one.
        """
        if engine not in ENGINES:
            raise UnknownNameError("engine", engine, ENGINES)
        if engine == "dask":
            return self
        if self != Cluster():
            raise InputError("--scheduler and what belongs to it are for --engine dask")
        return None

    def to_dict(self) -> Json:
        """Return the arguments of `of_parameters`, as plain values."""
        files = {"tls_ca": self.tls_ca, "tls_cert": self.tls_cert, "tls_key": self.tls_key}
        given = {name: str(path.absolute()) for name, path in files.items() if path is not None}
        plain = {"plain_scheduler": True} if self.plain else {}
        return ({"scheduler": self.scheduler} if self.scheduler else {}) | given | plain

    def check(self) -> None:
        """Check all that can be checked without connecting.

        Raises:
            InputError: Dask is not installed, no such address, no TLS where it is needed, or a part of its files.
        """
        if importlib.util.find_spec("distributed") is None:
            raise InputError(
                "the engine dask needs distributed, which is not installed: pip install 'drillcore[cluster]'"
            )
        files = {"--tls-ca": self.tls_ca, "--tls-cert": self.tls_cert, "--tls-key": self.tls_key}
        given = [name for name, path in files.items() if path is not None]
        if given and len(given) < len(files):
            missing = next(name for name in files if name not in given)
            raise InputError(f"{given[0]} is given and {missing} is not: TLS takes all of {', '.join(files)}")
        for name, path in files.items():
            if path is not None and not path.is_file():
                raise InputError(f"{name}: no such file: {path}")
        if not self.scheduler:
            if given or self.plain:
                raise InputError("TLS is for the scheduler of a cluster: give its address by --scheduler")
            return
        scheme, host, _ = _parts(self.scheduler)
        if scheme == "tls" or self.plain or is_loopback(host):
            return
        raise InputError(
            f"the scheduler {self.scheduler} is beyond this machine and its connection is not encrypted: whoever "
            "reaches it can run code on every worker. Use tls://, or say --plain-scheduler where all of the network "
            "is trusted"
        )

    def reach(self) -> None:
        """See whether anybody listens there, where hours of work come before it is needed. Raises InputError."""
        if not self.scheduler:
            return
        host, port = _parts(self.scheduler)[1:]
        try:
            socket.create_connection((host, port), _REACH_SECONDS).close()
        except OSError as error:
            raise nobody(self.address, error) from None

    @property
    def address(self) -> str:
        """The address with its scheme."""
        return self.scheduler if "://" in self.scheduler else f"tcp://{self.scheduler}"

    def security(self) -> Security:
        """Return a `distributed.Security`, or None for Dask's own configuration."""
        if self.tls_ca is None:
            return None
        from distributed.security import Security

        return Security(
            tls_ca_file=str(self.tls_ca),
            tls_client_cert=str(self.tls_cert),
            tls_client_key=str(self.tls_key),
            require_encryption=True,
        )


def nobody(address: str, error: Exception) -> InputError:
    """Return the error that no scheduler answers."""
    return InputError(f"no scheduler answers at {address} ({first_line(error)}); start one with `dask scheduler`")


def _parts(address: str) -> tuple[str, str, int]:
    """Return scheme, host and port. Raises InputError."""
    try:
        found = urlsplit(address if "://" in address else f"tcp://{address}")
        host, port = found.hostname, found.port
    except ValueError as error:
        raise InputError(f"{address!r} is no address of a scheduler ({error}); {_EXPECTED}") from None
    if found.scheme not in _SCHEMES:
        raise InputError(f"{address!r}: unknown scheme {found.scheme!r}; known: {', '.join(_SCHEMES)}")
    if not host or port is None or found.path or found.query or found.username:
        raise InputError(f"{address!r} is no address of a scheduler; {_EXPECTED}")
    return found.scheme, host, port
