"""`dvse serve`."""

import argparse
import os
import sys
import time
from pathlib import Path

HELP = """\
Serve a model: OpenAI-compatible endpoints for text, pictures and speech, and a page to try it.

Point any OpenAI client at http://HOST:PORT/v1; / is the page, /docs lists the endpoints, /metrics
is for Prometheus. SIGTERM and Ctrl-C let running answers finish for a while."""
EXAMPLES = """\
  dvse serve
  dvse serve --model my-model --port 9000 --api-key s3cret --served-model-name autoglm-phone-9b
  dvse serve --model 9b-model --tensor-parallel 2 --dtype bfloat16 --host 0.0.0.0
  curl http://127.0.0.1:8000/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{"model": "tiny", "messages": [{"role": "user", "content": "Hello"}]}'"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("--model", default="tiny", help="shipped name, model directory or Hub id (%(default)s)")
    add(
        "--served-model-name",
        action="append",
        metavar="NAME",
        help="what clients call it; may be given several times (default: the model's name)",
    )
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=int, default=8000, help="port, 0 for a free one (%(default)s)")
    add("--device", default="cpu", help="cpu, cuda or cuda:N (%(default)s)")
    add("--dtype", help="of the weights, such as bfloat16 (default: as they are stored)")
    add(
        "--tensor-parallel",
        type=int,
        default=1,
        metavar="N",
        help="split the decoder over N processes; starts them with torchrun (%(default)s)",
    )
    add(
        "--api-key",
        action="append",
        default=None,
        metavar="KEY",
        help="ask for this key; may be given several times (default: $DVSE_API_KEY, or none)",
    )
    add(
        "--max-concurrency",
        type=int,
        default=32,
        metavar="N",
        help="answers generated at once (%(default)s)",
    )
    add(
        "--max-queue",
        type=int,
        default=128,
        metavar="N",
        help="requests that may wait beside them; more are told to come back (%(default)s)",
    )
    add(
        "--cache-gib",
        type=float,
        default=1.0,
        metavar="F",
        help="memory for keys and values, a process (%(default)s)",
    )
    add(
        "--allow-remote-media",
        nargs="+",
        default=(),
        metavar="HOST",
        help="fetch pictures from these hosts, public addresses only (default: from nowhere)",
    )
    add(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="ray serves replicas of the same app with Ray Serve (%(default)s)",
    )
    add("--replicas", type=int, default=1, metavar="N", help="with --engine ray (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop."""
    from dvse.errors import ConfigError, MissingExtraError

    started = time.perf_counter()
    try:
        from pipelines.server.loading import LoadingConfig
        from pipelines.server.process import (
            follow_until_stopped,
            serve,
            set_up_logging,
            start_processes,
        )
        from pipelines.server.settings import ServerSettings
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in ("dvse", "model", "pipelines"):
            raise
        raise MissingExtraError.for_extra(str(error.name), "serve") from None

    if not 0 <= args.port < 65536:
        raise ConfigError(f"--port: expected 0 to 65535, received {args.port}")
    loading = LoadingConfig(
        model=args.model,
        device=args.device,
        dtype=args.dtype,
        tensor_parallel=args.tensor_parallel,
        max_running=args.max_concurrency,
        max_waiting=args.max_queue + args.max_concurrency,
        cache_gib=args.cache_gib,
    )
    key = os.environ.get("DVSE_API_KEY")
    settings = ServerSettings(
        served_names=tuple(args.served_model_name or (_model_name(args.model),)),
        api_keys=tuple(args.api_key or ([key] if key else [])),
        media_hosts=tuple(args.allow_remote_media),
        max_concurrency=args.max_concurrency,
        max_queue=args.max_queue,
    )
    set_up_logging()
    if args.tensor_parallel > 1 and "RANK" not in os.environ:
        start_processes(args.tensor_parallel, sys.argv[2:])
    if int(os.environ.get("RANK", "0")) > 0:
        return follow_until_stopped(loading)
    if args.engine == "ray":
        from pipelines.server.ray_serve import serve_replicas

        return serve_replicas(
            settings, loading, host=args.host, port=args.port, replicas=args.replicas
        )
    _import_libraries()
    return serve(
        settings,
        loading,
        host=args.host,
        port=args.port,
        imported_in_s=time.perf_counter() - started,
    )


def _import_libraries() -> None:
    """What loading a model will need, so that its time is told apart."""
    import model.modeling_dvse  # noqa: F401


def _model_name(model: str) -> str:
    return Path(model).resolve().name if Path(model).is_dir() else model
