"""A model's name to what is served: tokenizer, decoder and a batcher over it."""

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from dvse.errors import BundleFormatError, ConfigError
from pipelines.answering.introduction import introduction_of
from pipelines.answering.legal_tokens import LegalTokens
from pipelines.answering.light_loading import load_to_answer
from pipelines.answering.model_directory import LoadedModel, check_belong
from pipelines.answering.model_folders import find_model
from pipelines.answering.room import itemsize_of, shape_of, token_bytes
from pipelines.server.batching.config import BatchingConfig
from pipelines.server.batching.continuous_batcher import ContinuousBatcher
from pipelines.server.batching.drafter import Drafter, ModelDrafter
from pipelines.server.batching.runner import LocalRunner, Runner
from pipelines.server.memory import cache_bytes, weight_bytes_of
from pipelines.server.served_model import ServedModel
from pipelines.server.settings import AUTO, LoadingConfig
from pipelines.server.torch_threads import run_in_passing

if TYPE_CHECKING:
    from model import DvseConfig
    from model.plain.config import PlainConfig

_LOG = logging.getLogger("dvse.serve")
# See `torch_threads`: the cores are the batcher's.
_ENCODER_THREADS = 1


def load_served(config: LoadingConfig) -> ServedModel:
    """Load everything, and say in the log what, where and how fast.

    Raises:
        BundleError, ConfigError, ModelMismatchError: see
            `pipelines.answering.model_directory.load_model`.
    """
    return run_in_passing(lambda: _load_served(config))


def memory_of(config: LoadingConfig) -> int:
    """Return about how many bytes a model will hold: its files of weights, and its cache.

    Of a model that is not on this machine yet, the cache alone is known; of an automatic cache
    nothing.
    """
    asked = config.limits.cache_gib
    return weight_bytes_of(config) + (0 if asked == AUTO else int(float(asked) * 2**30))


def _load_served(config: LoadingConfig) -> ServedModel:
    started = time.perf_counter()
    _LOG.info("loading %s on %s", config.model, _place(config))
    loaded, runner, batching = _load(config)
    if config.tensor_parallel > 1:
        from pipelines.server.batching.tensor_parallel import LeadingRunner

        leading: Runner = LeadingRunner(runner)
    else:
        leading = runner
    _LOG.info(
        "loaded %s in %.1f s: %.1f M parameters, cache of %d tokens",
        loaded.name,
        time.perf_counter() - started,
        sum(p.numel() for p in loaded.model.parameters()) / 1e6,
        batching.cache_tokens,
    )
    drafter = _drafter(config, loaded, batching) if config.draft is not None else None
    if runner.is_steady:
        _LOG.info("an answer never depends on the batch: steps of %d rows", runner.row_block)
    else:
        _LOG.warning("this device rounds by batch size: near ties may depend on the batch")
    model = served(loaded, leading, batching, drafter)
    return replace(model, introduction=introduction_of(find_model(config.model).decoder))


def served(
    loaded: LoadedModel,
    runner: Runner,
    batching: BatchingConfig,
    drafter: Drafter | None = None,
) -> ServedModel:
    """Put the parts together; the batcher is not started yet."""
    config = loaded.model.config
    legal = LegalTokens.of(loaded.tokenizer, config.vocab_size)
    batcher = ContinuousBatcher(
        runner,
        legal=legal,
        context=config.max_position_embeddings,
        config=batching,
        drafter=drafter,
    )
    return ServedModel(tokenizer=loaded.tokenizer, legal=legal, batcher=batcher)


def _drafter(config: LoadingConfig, loaded: LoadedModel, batching: BatchingConfig) -> Drafter:
    """Load the model that guesses; its cache is as long as the other's.

    Raises:
        ConfigError: it reads ids of another bundle.
    """
    assert config.draft is not None
    small = load_to_answer(config.draft, device=config.device, threads=_ENCODER_THREADS)
    if small.tokenizer.fingerprint != loaded.tokenizer.fingerprint:
        raise ConfigError(
            f"--draft {config.draft}: expected a model of the same bundle as {config.model}, whose "
            f"fingerprint is {loaded.tokenizer.fingerprint[:12]}, received one of "
            f"{small.tokenizer.fingerprint[:12]}"
        )
    decoder = small.model.config
    _LOG.info("%s guesses %d tokens at a time", small.name, config.draft_tokens)
    return ModelDrafter(
        LocalRunner(small.model, cache_tokens=batching.cache_tokens),
        legal=LegalTokens(small.tokenizer.vocabulary, vocab_size=decoder.vocab_size),
        cache_tokens=batching.cache_tokens,
        num_tokens=config.draft_tokens,
    )


def check_processes(config: LoadingConfig) -> None:
    """Refuse, in one place and before any process is started, what none of them could load.

    Raises:
        BundleError, ConfigError: no such model, one that cannot be split, or too little memory.
    """
    from pipelines.server.batching.tensor_parallel import check_split

    folders = find_model(config.model)
    folders.refuse_adapters("--tensor-parallel")
    check_split(str(folders.decoder), config.tensor_parallel)
    granted_bytes(config)


def follow_leader(config: LoadingConfig) -> None:
    """Be one of the processes beside the one that answers; returns when that one stops."""
    from pipelines.server.batching.tensor_parallel import follow

    _, runner, _ = _load(config)
    follow(runner)


def granted_bytes(config: LoadingConfig) -> int:
    """Return what a process's cache may take, before any weight is read.

    Raises:
        BundleError: no such model or model that guesses, or one that cannot be.
        ConfigError: no room for weights and cache, or for not even one prompt.
    """
    if config.draft is not None:
        find_model(config.draft).refuse_export()
    granted = cache_bytes(config)
    shape = shape_of(find_model(config.model).decoder)
    batching_for(config, shape, itemsize_of(shape, config.dtype), granted)
    return granted


def batching_for(
    config: LoadingConfig,
    decoder: "DvseConfig | PlainConfig",
    bytes_per_value: int,
    granted: int,
) -> BatchingConfig:
    """Return sizes that keep to the memory that was granted, `granted` bytes a process.

    Raises:
        ConfigError: not even one prompt fits.
    """
    fits = int(granted / token_bytes(decoder, bytes_per_value) * config.tensor_parallel)
    defaults = BatchingConfig()
    pages = min(defaults.prefix_pages * 4, fits // 4 // defaults.chunk)
    tokens = fits - pages * defaults.chunk
    wanted = config.limits.max_concurrency * decoder.max_position_embeddings
    if tokens < defaults.chunk:
        raise ConfigError(
            f"a cache of {granted / 2**30:.3g} GiB holds {tokens} tokens of this model; raise "
            "--cache-gib, or give it more memory"
        )
    return BatchingConfig(
        max_running=config.limits.max_concurrency,
        max_waiting=config.limits.max_in_flight,
        cache_tokens=min(tokens, wanted),
        prefix_pages=pages,
    )


def _load(config: LoadingConfig) -> tuple[LoadedModel, LocalRunner, BatchingConfig]:
    granted = granted_bytes(config)
    if config.tensor_parallel == 1:
        loaded = load_to_answer(
            config.model,
            device=config.device,
            dtype=config.dtype,
            quantize=config.quantize,
            threads=_ENCODER_THREADS,
            precision=config.precision,
        )
    else:
        loaded = _load_share(config)
    batching = batching_for(config, loaded.model.config, loaded.model.dtype.itemsize, granted)
    return loaded, LocalRunner(loaded.model, cache_tokens=batching.total_tokens), batching


def _load_share(config: LoadingConfig) -> LoadedModel:
    import dvse
    from model import ModelError
    from pipelines.server.batching.tensor_parallel import load_split

    folders = find_model(config.model)
    folders.refuse_adapters("--tensor-parallel")
    try:
        model = load_split(
            str(folders.decoder),
            num_processes=config.tensor_parallel,
            dtype=config.dtype or "auto",
        )
    except (ModelError, OSError) as error:
        raise BundleFormatError(f"{folders.decoder}: cannot be loaded; {error}") from error
    device = str(model.device)
    tokenizer = dvse.load(
        folders.bundle, device=device, threads=_ENCODER_THREADS, precision=config.precision
    )
    check_belong(model.config, tokenizer.fingerprint, folders)
    return LoadedModel(name=folders.name, model=model, tokenizer=tokenizer, device=device)


def _place(config: LoadingConfig) -> str:
    if config.tensor_parallel > 1:
        return f"{config.tensor_parallel} devices"
    return config.device
