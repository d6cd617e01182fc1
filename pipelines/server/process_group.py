"""`python -m pipelines.server.process_group ARGUMENTS`: torchrun that ends quietly when told to.

torchrun passes a signal on, waits for its processes, and then ends with a traceback and exit code 1
whatever they did. Here the group ends as one server does: by the signal that stopped it. What goes
wrong without a signal is told as torchrun tells it.
"""

import os
import signal
import sys
from collections.abc import Sequence


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
