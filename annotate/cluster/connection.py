"""How is a Ray cluster reached, and which machines does it have? It is started here, or joined at an address."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from annotate.errors import AnnotateError

LOCAL = "local"  # the address of a cluster that is started for one job on this machine


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connect to Ray during the `with` block. A connection that the process already has is used, and stays open.

    Raises:
        AnnotateError: the cluster cannot be reached.
        KeyboardInterrupt: the process received a signal to end.
    """
    # Ray reads these when it is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address == LOCAL:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # all its sockets on the loopback
    import ray

    if ray.is_initialized():
        yield
        return
    _connect(address)
    try:
        yield
    finally:
        ray.shutdown()


def machines() -> list[dict[str, float]]:
    """The resources of each living machine of the cluster, such as CPU and GPU, by name."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def describe_machines() -> str:
    """The CPUs and GPUs of the machines, of five at most, as part of a sentence."""
    found = [f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in machines()]
    return f"the machines have {'; '.join(found[:5])}" if found else "there is no machine"


def describe_privacy(address: str) -> str:
    """Where Ray runs at this address and who can see it, as a sentence."""
    if address != LOCAL:
        return f"Ray joins the cluster at {address!r} and sends no usage statistics"
    token = "no token" if os.environ.get("RAY_AUTH_MODE") == "disabled" else "a token"
    reports = os.environ.get("RAY_USAGE_STATS_ENABLED", "0") != "0"
    return f"Ray runs on this machine, listens on the loopback interface only, requires {token} and sends " + (
        "usage statistics to its makers, because RAY_USAGE_STATS_ENABLED is set" if reports else "no usage statistics"
    )


def _connect(address: str) -> None:
    """Start Ray, or join a cluster. The process's own handler of SIGTERM stays."""
    import ray

    own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 128 * 2**20}
    _refuse_unreachable(address)
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address,
            logging_level=logging.ERROR,
            log_to_driver=False,
            **(own if address == LOCAL else {}),
        )
    except SystemExit:  # Ray's own reaction to SIGTERM while it starts
        raise KeyboardInterrupt from None
    except (ConnectionError, ValueError) as error:
        raise _unreachable(address, error) from error
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)


def _refuse_unreachable(address: str) -> None:
    """Check that something answers at HOST:PORT; Ray itself would try for minutes.

    Raises:
        AnnotateError: nothing answers there.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: Exception) -> AnnotateError:
    return AnnotateError(
        f"cannot reach the Ray cluster at {address!r}: {error}. Start one with `ray start --head`, or leave "
        "--ray-address out to work on this machine alone"
    )
