"""The Ray cluster that a job runs on: joined by its address, or started on this machine."""

import os
import socket
from dataclasses import dataclass
from typing import Any

from dvse.errors import JobError, MissingExtraError

_OBJECT_STORE_BYTES = 1 << 30
_CONNECT_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Room:
    """What the cluster has for actors.

    Attributes:
        num_actors: one a GPU, or one a node.
        cpus: processors for each.
        gpus: GPUs for each.
    """

    num_actors: int
    cpus: int
    gpus: int


class Cluster:
    """A cluster, joined or started.

    Args:
        address: of its head, `auto` for the one on this machine; `None` for that in RAY_ADDRESS,
            or else one that is started here.

    Raises:
        MissingExtraError: Ray is not installed.
        JobError: the cluster does not answer.
    """

    def __init__(self, address: str | None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError:
            raise MissingExtraError.for_extra("ray", "ray") from None
        self._ray = ray
        self._is_ours = not ray.is_initialized()
        if not self._is_ours:
            return  # whoever runs the job has joined one
        address = address or os.environ.get("RAY_ADDRESS")
        _refuse_silent(address)
        if not address:
            # Workers would be as nice as 15, and a job that has this machine to itself is not.
            os.environ.setdefault("RAY_worker_niceness", "0")
        here: dict[str, Any] = {
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE_BYTES,
        }
        try:
            ray.init(
                address=address or "local",  # without it Ray joins any cluster that it finds here
                log_to_driver=False,
                logging_level="warning",
                **({} if address else here),
            )
        except Exception as error:  # Ray raises anything here
            raise JobError(
                f"--ray-address {address}: no cluster could be joined ({error}); start one with "
                "ray start --head, or leave the address out to use this machine alone"
            ) from None

    def room(self, kind: str) -> Room:
        """Return what there is for encoders on `cpu` or `cuda`.

        Raises:
            JobError: no node has such a device.
        """
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        gpus = [int(resources.get("GPU", 0)) for resources in nodes]
        if kind == "cuda":
            if not any(gpus):
                raise JobError("--device cuda: no node of the Ray cluster has a GPU")
            shares = [int(r.get("CPU", 1)) // g for r, g in zip(nodes, gpus, strict=True) if g]
            return Room(num_actors=sum(gpus), cpus=max(min(shares), 1), gpus=1)
        cpus = [n for r in nodes if (n := int(r.get("CPU", 0)))]
        if not cpus:
            raise JobError("--device cpu: no node of the Ray cluster has processors to give")
        return Room(num_actors=len(cpus), cpus=min(cpus), gpus=0)

    def leave(self) -> None:
        """Leave the cluster, or end it where it was started here."""
        if self._is_ours and self._ray.is_initialized():
            self._ray.shutdown()


def _refuse_silent(address: str | None) -> None:
    """Say at once that nobody listens; Ray would go on trying for minutes.

    Raises:
        JobError: nobody does.
    """
    host, colon, port = (address or "").rpartition(":")
    if not colon or not port.isdecimal():
        return
    try:
        socket.create_connection((host.rpartition("/")[2], int(port)), _CONNECT_S).close()
    except OSError as error:
        raise JobError(
            f"--ray-address {address}: nobody answers there ({error}); start a cluster with ray "
            "start --head, or leave the address out to use this machine alone"
        ) from None
