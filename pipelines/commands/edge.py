"""`dvse edge`."""

import argparse
import os
import time

from pipelines.commands.fields import add_flags, from_flags
from pipelines.commands.serve import import_libraries, import_server, take_api_key
from pipelines.server.edge.settings import EdgeSettings

HELP = """\
Serve a small model here that speaks for a large one elsewhere: only ids leave the device.

Files are tokenised here. The small model guesses some tokens, the large one (a `dvse serve` with a
model of the same bundle) keeps those that it would have said, so the answers are the large model's
in few round trips. Where the link is down the small model answers alone. Clients see the same
endpoints as those of `dvse serve`."""
EXAMPLES = """\
  dvse edge --cloud https://cloud.example --cloud-key s3cret
  dvse edge --cloud http://127.0.0.1:8000 --model tiny --port 8100 --guess 8"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_flags(parser, EdgeSettings)


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop."""
    started = time.perf_counter()
    process = import_server()
    take_api_key(args)
    args.cloud_key = args.cloud_key or os.environ.get("DVSE_CLOUD_KEY")
    settings = from_flags(EdgeSettings, args)
    process.set_up_logging()
    import_libraries()

    from pipelines.server.edge.loading import load_edge

    return process.serve(
        settings.server,
        imported_in_s=time.perf_counter() - started,
        load=lambda: load_edge(settings),
    )
