"""Loading and saving without what transformers writes around it."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_library_lines() -> Iterator[None]:
    """Keep transformers from drawing bars and from telling tensors in a table.

    What is wrong with a model is one sentence, which whoever loads it raises.
    """
    from transformers.utils import logging

    was_on, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if was_on:
            logging.enable_progress_bar()
