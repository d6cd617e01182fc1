"""The small model with its link to the large one, as something that is served."""

import logging
from dataclasses import replace

from pipelines.server.edge.cloud import Cloud
from pipelines.server.edge.edge_batcher import EdgeBatcher
from pipelines.server.edge.settings import EdgeSettings
from pipelines.server.loading import load_served
from pipelines.server.served_model import ServedModel

_LOG = logging.getLogger("dvse.edge")


def load_edge(settings: EdgeSettings) -> ServedModel:
    """Load the small model, and see whether the large one is there.

    Raises:
        BundleError, ConfigError, ModelMismatchError: see `load_served`.
        ConfigError: the large model reads other ids, asks for a key, or is none.
    """
    model = load_served(settings.server.loading)
    cloud = Cloud(settings, model.tokenizer.fingerprint)
    if cloud.check():
        _LOG.info("guessing %d tokens at a time for %s", settings.guess, settings.cloud)
    limits = settings.server.limits
    batcher = EdgeBatcher(
        model.batcher, cloud, num_guessed=settings.guess, most=limits.max_in_flight
    )
    return replace(model, batcher=batcher)
