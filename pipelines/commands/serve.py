"""`dvse serve`."""

import argparse
import os
import time
from importlib import import_module
from types import ModuleType

from pipelines.commands.fields import add_flags, from_flags
from pipelines.server.settings import ServerSettings

HELP = """\
Serve a model: OpenAI-compatible endpoints for text, pictures and speech, and a page to try it.

Point any OpenAI client at http://HOST:PORT/v1; / is the page, /docs lists the endpoints, /metrics
is for Prometheus. SIGTERM and Ctrl-C let running answers finish for a while."""
EXAMPLES = """\
  dvse serve
  dvse serve --model my-model --port 9000 --api-key s3cret --served-model-name autoglm-phone-9b
  dvse serve --also-model other-model --models-gib 4 --access-log json
  dvse serve --model 9b-model --tensor-parallel 2 --dtype bfloat16 --host 0.0.0.0
  curl http://127.0.0.1:8000/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{"model": "tiny", "messages": [{"role": "user", "content": "Hello"}]}'"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_flags(parser, ServerSettings)


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop."""
    started = time.perf_counter()
    process = import_server()
    take_api_key(args)
    settings = from_flags(ServerSettings, args)
    process.set_up_logging()
    num_processes = settings.loading.tensor_parallel
    if num_processes > 1 and "RANK" not in os.environ:
        process.start_processes(settings.loading, args.words)
    if int(os.environ.get("RANK", "0")) > 0:
        return process.follow_until_stopped(settings.loading)
    if settings.engine == "ray":
        from pipelines.server.ray_serve import serve_replicas

        return serve_replicas(settings)
    import_libraries()
    return process.serve(settings, imported_in_s=time.perf_counter() - started)


def take_api_key(args: argparse.Namespace) -> None:
    """Ask for the key in the environment where no flag gives one."""
    key = os.environ.get("DVSE_API_KEY")
    args.api_key = args.api_key or ([key] if key else None)


def import_server() -> ModuleType:
    """Return `pipelines.server.process`.

    Raises:
        MissingExtraError: the extra `serve` is not installed.
    """
    from dvse.errors import MissingExtraError

    try:
        return import_module("pipelines.server.process")
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in ("dvse", "model", "pipelines"):
            raise
        raise MissingExtraError.for_extra(str(error.name), "serve") from None


def import_libraries() -> None:
    """What loading a model will need, so that its time is told apart."""
    import torch  # noqa: F401
