"""Which schedulers are allowed, and a cluster that is started here."""

from __future__ import annotations

import socket
from pathlib import Path

import psutil
import pytest

from drillcore.cluster.address import Cluster
from drillcore.cluster.client import connected
from drillcore.errors import InputError, UnknownNameError
from drillcore.settings import Settings


def test_a_cluster_of_its_own_listens_on_loopback_only(settings: Settings) -> None:
    """And its processes end with it."""
    before = set(psutil.Process().children(recursive=True))
    with connected(settings, Cluster(), "test") as client:
        client.wait_for_workers(1, timeout=60)
        started = [psutil.Process(), *set(psutil.Process().children(recursive=True)) - before]
        sockets = [one for process in started for one in process.net_connections("inet") if one.status == "LISTEN"]
        assert len(started) > 1
        assert len(sockets) > 2
        assert {one.laddr.ip for one in sockets} == {"127.0.0.1"}
    assert not any(process.is_running() and "spawn_main" in str(process.cmdline()) for process in started[1:])


@pytest.mark.parametrize("address", ["tls://10.0.0.7:8786", "127.0.0.1:8786", "tcp://localhost:1", "tcp://[::1]:8786"])
def test_addresses_that_are_allowed(address: str) -> None:
    Cluster(address).check()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("tcp://10.0.0.7:8786", "Use tls://"),
        ("scheduler:8786", "Use tls://"),
        ("tcp://127.0.0.1.example:8786", "Use tls://"),
        ("http://10.0.0.7:8786", "unknown scheme 'http'"),
        ("inproc://10.0.0.7:8786", "unknown scheme"),
        ("tls://10.0.0.7", "such as tls://host:8786"),
        ("tls://:8786", "such as tls://host:8786"),
        ("tls://a:99999", "such as tls://host:8786"),
        ("tls://a:8786/x", "such as tls://host:8786"),
    ],
)
def test_addresses_that_are_not(address: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Cluster(address).check()


def test_plain_is_for_those_who_say_so(tmp_path: Path) -> None:
    Cluster("tcp://10.0.0.7:8786", plain=True).check()
    with pytest.raises(InputError, match="give its address"):
        Cluster(plain=True).check()
    (tmp_path / "ca.pem").write_text("")
    with pytest.raises(InputError, match="--tls-ca is given and --tls-cert is not"):
        Cluster("tls://a:1", tls_ca=tmp_path / "ca.pem").check()
    with pytest.raises(InputError, match="--tls-key: no such file"):
        Cluster("tls://a:1", tmp_path / "ca.pem", tmp_path / "ca.pem", tmp_path / "key.pem").check()


def test_what_a_flow_is_told_is_the_same_cluster(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem")]
    for cluster in (Cluster(), Cluster("tls://a:1", *files), Cluster("tcp://a:1", plain=True)):
        assert Cluster.of_parameters(**cluster.to_dict()) == cluster
        assert cluster.of_engine("dask") == cluster
    assert Cluster().of_engine("local") is None
    with pytest.raises(InputError, match="are for --engine dask"):
        Cluster("tls://a:1").of_engine("local")
    with pytest.raises(UnknownNameError, match="unknown engine 'ray'"):
        Cluster().of_engine("ray")


def test_whether_anybody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        Cluster(address).reach()
    with pytest.raises(InputError, match="no scheduler answers at tcp://127"):
        Cluster(address).reach()
    Cluster().reach()
