"""The same app under Ray Serve: one app a replica, each with a model of its own.

Ray balances requests over replicas, restarts those that die and may run them on other machines. It
is imported here and nowhere else.
"""

import logging
import signal
import threading

from dvse.errors import ConfigError, MissingExtraError
from pipelines.server.app import create_app
from pipelines.server.loading import load_served
from pipelines.server.settings import ServerSettings

_LOG = logging.getLogger("dvse.serve")


def serve_replicas(settings: ServerSettings) -> int:
    """Serve until a signal says stop, and return the exit code.

    Raises:
        ConfigError: fewer than one replica.
        MissingExtraError: Ray is not installed.
    """
    if settings.replicas < 1:
        raise ConfigError(f"--replicas: expected at least 1, received {settings.replicas}")
    try:
        import ray
        from ray import serve
        from ray.serve.config import HTTPOptions
    except ImportError:
        raise MissingExtraError.for_extra("ray", "ray") from None

    def build():
        return create_app(load_served(settings.loading), settings)

    deployment = serve.deployment(
        num_replicas=settings.replicas,
        max_ongoing_requests=settings.limits.max_in_flight,
        graceful_shutdown_timeout_s=settings.stop_deadline_s,
        ray_actor_options={"num_gpus": 1 if settings.loading.device.startswith("cuda") else 0},
    )(serve.ingress(build)(type("DvseReplica", (), {})))
    place = settings.listening
    ray.init(include_dashboard=False, ignore_reinit_error=True, log_to_driver=True)
    serve.start(http_options=HTTPOptions(host=place.host, port=place.port))
    serve.run(deployment.bind(), name="dvse", route_prefix="/")
    _LOG.info(
        "ready: %d replicas, endpoints at http://%s:%d",
        settings.replicas,
        place.host,
        place.port,
    )
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    stopped.wait()
    serve.shutdown()
    ray.shutdown()
    return 0
