"""Where a decoder's training begins: at random weights, or at a published checkpoint.

    [model]
    checkpoint = "glm-4-9b-chat-hf"      a directory or a Hub id (GLM-4, GLM-4-0414, GLM-4.5); other
                                         keys change its config
    use_token_gate = true                gates begin open: the logits stay as they were

The ids of the checkpoint's text keep their rows, so the bundle's text part has to be the tokenizer
of the checkpoint (`dvse build-bundle --text CHECKPOINT`). Rows of ids that the checkpoint does not
have begin at the mean of its rows, those of codes as their centroids lie to each other.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from dvse.blocks import RUNS
from dvse.errors import BundleError, TrainingError
from dvse.quiet_transformers import without_library_lines
from dvse.text.hugging_face import HuggingFaceText
from dvse.tokenizer import Tokenizer
from dvse.vocabulary import Vocabulary
from model import DvseConfig, DvseForCausalLM, initialize_rows, load_glm, preset
from model.families import ADAPTERS, check_decoder_directory
from pipelines.training.decoder.recipe import DecoderRecipe

_PROBES = ("The quick brown fox, 1234.", "你好,世界", "  x = [1]\n\tÄ 😀")


def new_decoder(recipe: DecoderRecipe, tokenizer: Tokenizer) -> DvseForCausalLM:
    """Return the decoder at which training begins, with an embedding for the tokenizer's ids.

    Raises:
        ModelConfigError: a shape that does not fit.
        CheckpointError: no GLM-4 checkpoint, or a broken one.
        TrainingError: the checkpoint reads other text ids than the bundle.
    """
    overrides = dict(recipe.model)
    set_seed(recipe.training.seed)
    checkpoint = overrides.pop("checkpoint", None)
    if checkpoint is None:
        decoder = DvseForCausalLM(decoder_config(recipe, tokenizer.vocabulary))
    else:
        decoder = _from_checkpoint(str(checkpoint), overrides, tokenizer)
    if recipe.training.codebook_rows:
        _begin_at_centroids(decoder, tokenizer)
    return decoder


def decoder_config(
    recipe: DecoderRecipe, vocabulary: Vocabulary, *, shape: str | None = None
) -> DvseConfig:
    """Return the configuration that `new_decoder` would give a decoder, without reading weights.

    Args:
        recipe: its preset or checkpoint; of a Hub id `config.json` is fetched.
        vocabulary: of the bundle.
        shape: a preset of `model.preset` that stands for a checkpoint that is not here.

    Raises:
        ModelConfigError, CheckpointError, TrainingError: as `new_decoder` does.
    """
    overrides = dict(recipe.model)
    checkpoint = overrides.pop("checkpoint", None)
    if checkpoint is None:
        name = overrides.pop("preset", "tiny")
        return preset(name, **{"vocab_size": vocabulary.size, **overrides})
    if shape is not None:
        overrides.pop("dtype", None)
        config = preset(shape, **overrides)
        config.dtype = torch.bfloat16
    else:
        folder = _found(str(checkpoint), files=["config.json", ADAPTERS])
        check_decoder_directory(folder)
        overrides.pop("dtype", None)
        config = DvseConfig.from_pretrained(folder, **overrides)
    config.vocab_size = max(config.vocab_size, vocabulary.size)
    return config


def new_ids(vocabulary: Vocabulary) -> range:
    """Return the ids behind the text: what a checkpoint of text has not learnt."""
    return range(vocabulary.text_size, vocabulary.size)


def _from_checkpoint(
    source: str, overrides: dict[str, Any], tokenizer: Tokenizer
) -> DvseForCausalLM:
    folder = _found(source)
    check_decoder_directory(folder)
    _check_text(folder, tokenizer)
    with without_library_lines():
        decoder = load_glm(folder, **{"dtype": "auto", **overrides})
    added, size = new_ids(tokenizer.vocabulary), tokenizer.vocabulary.size
    if decoder.config.vocab_size < added.start:
        raise TrainingError(
            f"{folder}: expected an embedding of at least {added.start} ids of text, received "
            f"{decoder.config.vocab_size}"
        )
    if decoder.config.vocab_size < size:
        decoder.resize_token_embeddings(size, mean_resizing=False)
    initialize_rows(decoder, added, "mean")
    decoder.config.pad_token_id = tokenizer.vocabulary.pad_id
    return decoder


def _found(source: str, files: Sequence[str] = ("*.json", "*.safetensors")) -> Path:
    if Path(source).exists():
        return Path(source)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(source, allow_patterns=list(files)))
    except (OSError, HFValidationError) as error:
        raise TrainingError(
            f"[model] checkpoint = {source!r}: expected a directory or a Hub id that can be "
            f"reached; {str(error).splitlines()[0]}"
        ) from error


def _check_text(folder: Path, tokenizer: Tokenizer) -> None:
    """See that the checkpoint and the bundle give the same ids to the same text."""
    ours = tokenizer.text
    advice = (
        f"make a bundle whose text part is the checkpoint's: dvse build-bundle --text {folder} "
        "--image PART --audio PART --output BUNDLE, and tokenise with it"
    )
    try:
        theirs = HuggingFaceText.load(folder)
    except BundleError as error:
        raise TrainingError(
            f"{folder}: its tokenizer.json cannot be read, so nobody knows what its ids mean: "
            f"{error}"
        ) from error
    if theirs.size != ours.size:
        raise TrainingError(
            f"{folder}: has {theirs.size} ids of text, the bundle {ours.size}; {advice}"
        )
    for index in range(theirs.size):
        if theirs.piece(index) != ours.piece(index):
            raise TrainingError(
                f"{folder}: id {index} is {theirs.piece(index)!r} there and {ours.piece(index)!r} "
                f"in the bundle; {advice}"
            )
    for probe in _PROBES:
        if theirs.encode(probe).tolist() != ours.encode(probe).tolist():
            raise TrainingError(f"{folder}: cuts {probe!r} differently than the bundle; {advice}")


def _begin_at_centroids(decoder: DvseForCausalLM, tokenizer: Tokenizer) -> None:
    """Let codes that are near in their codebook be near in the embedding, too."""
    books = {
        "image": tokenizer.image.quantizer if tokenizer.image else None,
        "audio": tokenizer.audio.codebook if tokenizer.audio else None,
    }
    for name, book in books.items():
        if book is None or tokenizer.vocabulary.num_levels(name) != 1:
            continue
        codes = torch.arange(tokenizer.vocabulary.num_codes(name))
        ids = tokenizer.vocabulary.code_ids(name, codes.numpy())
        if (ids[1:] - ids[:-1] != 1).any():
            continue  # a grown codebook: its ids lie in several runs
        with torch.no_grad():
            centroids = book.decode(codes.unsqueeze(1))
        initialize_rows(decoder, range(int(ids[0]), int(ids[-1]) + 1), centroids)
        if name == "audio":
            _begin_runs(decoder, tokenizer, centroids)


def _begin_runs(decoder: DvseForCausalLM, tokenizer: Tokenizer, centroids: torch.Tensor) -> None:
    """Let an id that is a run of codes begin at the mean of their centroids."""
    vocabulary = tokenizer.vocabulary
    means = [centroids[list(run)].mean(0) for run in vocabulary.runs.runs]
    for block in (b for b in vocabulary.blocks if b.name == RUNS):
        rows = torch.stack(means[block.first_code : block.first_code + block.size])
        initialize_rows(decoder, range(block.first_id, block.stop_id), rows)
