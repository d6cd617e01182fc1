"""A real Ray cluster of several nodes on this machine."""

import contextlib
import os
from pathlib import Path

import pytest

SUPPORT = Path(__file__).parent
ROOT = Path(__file__).parents[3]


@contextlib.contextmanager
def running(num_nodes=2):
    """A head without processors to give and nodes with two each; `node_args` make another."""
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    paths = [str(ROOT), str(SUPPORT), os.environ.get("PYTHONPATH", "")]
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", os.pathsep.join(paths))
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        environment.setenv("RAY_health_check_period_ms", "500")
        environment.setenv("RAY_health_check_timeout_ms", "500")
        memory = {"object_store_memory": 150 << 20}
        made = cluster_utils.Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "include_dashboard": False, **memory},
        )
        made.node_args = {"num_cpus": 2, **memory}
        for _ in range(num_nodes):
            made.add_node(**made.node_args)
        try:
            yield made
        finally:
            ray.shutdown()
            made.shutdown()


def add_from_thread(cluster):
    """Let another node join; Ray would have it handle signals, which only the main thread may."""
    cluster._shutdown_at_exit = False
    try:
        return cluster.add_node(**cluster.node_args)
    finally:
        cluster._shutdown_at_exit = True
