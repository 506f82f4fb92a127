"""How is a Ray cluster reached, and which machines does it have? It is started here, or joined at an address."""

from __future__ import annotations

import gc
import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from annotate.cluster.temporary_folder import temporary_folder
from annotate.cores import usable_cores
from annotate.errors import AnnotateError
from storage.errors import explained

LOCAL = "local"  # the address of a cluster that is started for one job on this machine


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connect to Ray during the `with` block. A connection that the process already has is used, and stays open.

    Raises:
        AnnotateError: Ray cannot start here, or the cluster cannot be reached.
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
    with ExitStack() as ending:
        own: dict[str, Any] = {}
        if address == LOCAL:
            ending.enter_context(_own_token())
            own = {
                "include_dashboard": False,
                "object_store_memory": 128 * 2**20,
                "num_cpus": usable_cores(),
                "_temp_dir": str(ending.enter_context(temporary_folder())),
            }
        # After Ray's end: else its clients are freed in a process that is forked later, as a loader's are, and hang it.
        ending.callback(gc.collect)
        ending.callback(ray.shutdown)  # also where Ray started in part
        _connect(address, own)
        yield


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


@contextmanager
def _own_token() -> Iterator[None]:
    """Set a new token for our own Ray during the `with` block, if there is none, in the environment of its processes.

    By default Ray writes it into a file in the home folder, which may not exist, or which others may read.
    """
    before = os.environ.get("RAY_AUTH_MODE")
    if before not in (None, "token"):
        yield
        return
    own = not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    os.environ["RAY_AUTH_MODE"] = "token"  # older versions of Ray require none unless it is set
    if own:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    _read_token_again()
    try:
        yield
    finally:
        if own:
            del os.environ["RAY_AUTH_TOKEN"]
        if before is None:
            del os.environ["RAY_AUTH_MODE"]
        _read_token_again()


def _read_token_again() -> None:
    """Make Ray, which caches the token of the environment, read it again."""
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    AuthenticationTokenLoader.instance().reset_cache()
    Config.initialize("")


def _connect(address: str, own: dict[str, Any]) -> None:
    """Start Ray, or join a cluster. The process's own handler of SIGTERM stays."""
    import ray

    _refuse_unreachable(address)
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **own)
    except SystemExit:  # Ray's own reaction to SIGTERM while it starts
        raise KeyboardInterrupt from None
    except Exception as error:  # many types; in each case the user can continue without Ray
        raise (_cannot_start(error) if address == LOCAL else _unreachable(address, error)) from error
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


def _cannot_start(error: Exception) -> AnnotateError:
    cannot = AnnotateError(
        f"Ray cannot start on this machine: {_first_line(error)}. Label without it, in one process, with --local; or "
        "in several, each with --local and its own --shards"
    )
    return explained(cannot, "cluster.md#one-machine")


def _unreachable(address: str, error: Exception) -> AnnotateError:
    cannot = AnnotateError(
        f"cannot reach the Ray cluster at {address!r}: {_first_line(error)}. Start one with `ray start --head`, with "
        "the same token for all (docs/cluster.md), or leave --ray-address out to work on this machine alone"
    )
    return explained(cannot, "cluster.md#a-ray-cluster")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
