"""What `--runtime` opens."""

import argparse
import sys

from pipelines.commands.fields import from_flags
from pipelines.registry.registry import cache_folder
from pipelines.runtimes.runtime_settings import RuntimeSettings


def opened(name: str, args: argparse.Namespace) -> str:
    """Return by what the named model or bundle is loaded; an export that is made is announced."""
    runtime = from_flags(RuntimeSettings, args).runtime
    if runtime == "torch":
        return name
    from pipelines.runtimes.kept_export import exported

    return exported(name, cache_folder(), lambda line: print(line, file=sys.stderr))
