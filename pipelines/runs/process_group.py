"""`python -m pipelines.runs.process_group ARGUMENTS`: torchrun that ends quietly when told to.

torchrun passes a signal on, waits for its processes, and then ends with a traceback and exit code 1
whatever they did. Here the group ends as one process does: by the signal that stopped it. What goes
wrong without a signal is told as torchrun tells it.
"""

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn


def become_group(count: int, words: Sequence[str]) -> NoReturn:
    """Replace this process by a group of so many on this machine, each a `dvse WORDS...`.

    Args:
        count: processes.
        words: the command line behind `dvse`.
    """
    command = [sys.executable, "-m", "pipelines.runs.process_group", "--standalone"]
    command += ["--nproc-per-node", str(count), "-m", "pipelines.cli", *words]
    os.execv(sys.executable, command)


def main(arguments: Sequence[str]) -> None:
    """Run torchrun until it ends; its arguments are those of `torchrun`."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.run import main as torchrun

    try:
        torchrun(list(arguments))
    except SignalException as error:
        sys.stderr.flush()
        signal.signal(error.sigval, signal.SIG_DFL)
        os.kill(os.getpid(), error.sigval)


if __name__ == "__main__":
    main(sys.argv[1:])
