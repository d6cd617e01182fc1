"""The loop that trains a decoder on token shards: Hugging Face's `Trainer` over packed windows.

Documents are packed whole and kept apart by their positions; loss falls on answers only (and on
every id of rows that have no loss mask). The order of a run follows from the recipe's seed, so a
run that was killed and goes on sees the same batches. Gate budget and expert balance are the
model's own losses. It refuses to know what the rows are about.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, IterableDataset
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from dvse.dataset.token_dataset import TokenDataset
from dvse.errors import ConfigError, TrainingError
from dvse.remote.remote_path import Location, location
from dvse.storage.atomic_file import write_atomically
from dvse.storage.shard import find_shards, read_metadata
from dvse.tokenizer import Tokenizer
from model.auxiliary_losses import AuxiliaryLosses
from pipelines.runs.processes import Processes
from pipelines.training.decoder.document_attention import attend_by_document
from pipelines.training.decoder.recipe import DecoderRecipe, DecoderTraining
from pipelines.training.decoder.sample_answers import SampleAnswers, samples_of

if TYPE_CHECKING:
    from peft import PeftModel

    from model import DvseForCausalLM

RECIPE_FILE = "recipe.json"
_NUM_SAMPLES = 8


class Windows(IterableDataset[dict[str, torch.Tensor]]):
    """The batches of a `TokenDataset` as the decoder's arguments, epoch after epoch without end."""

    def __init__(self, dataset: TokenDataset) -> None:
        super().__init__()
        self.dataset = dataset

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        """Yield batches of ids, positions and labels `int64 [B, T]`."""
        for batch in self.dataset.endless():
            yield {
                "input_ids": batch.input_ids,
                "position_ids": batch.position_ids,
                "labels": batch.labels,
            }


class DecoderTrainer(Trainer):
    """`Trainer` whose data are packed, shared out over ranks and resumed by `TokenDataset`."""

    def __init__(self, *, dataset: TokenDataset, first_step: int = 0, **kwargs: Any) -> None:
        super().__init__(train_dataset=Windows(dataset), **kwargs)
        self._dataset, self._first_step = dataset, first_step

    def get_train_dataloader(self) -> DataLoader:
        """Return the rest of the run; it is asked for before a checkpoint's state is read."""
        self._dataset.seek(self._first_step * self.args.gradient_accumulation_steps)
        return DataLoader(
            Windows(self._dataset), batch_size=None, num_workers=self.args.dataloader_num_workers
        )

    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Run the head where there are labels only, and no cache.

        The Trainer takes a loss for a sum over a part of a step's labels and multiplies it by the
        number of processes; the losses of gates and experts are means, which is put right here.
        """
        inputs = {**inputs, "logits_to_keep": "labelled", "use_cache": False}
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        losses = AuxiliaryLosses(load_balance=outputs.aux_loss, budget=outputs.budget_loss)
        config: Any = getattr(self.model, "config", None)
        means = losses.weighted(config, model.training)
        if means is not None and num_items_in_batch is not None:
            parts = self.current_gradient_accumulation_steps
            loss = loss - means * (self.accelerator.num_processes - 1 / parts)
        return (loss, outputs) if return_outputs else loss


def train_decoder(
    decoder: "DvseForCausalLM | PeftModel",
    tokenizer: Tokenizer,
    shards: Location,
    recipe: DecoderRecipe,
    folder: Path,
    *,
    resume: bool = False,
) -> list[dict[str, Any]]:
    """Train in place and return the log; checkpoints, log and samples go to `folder`.

    Raises:
        TrainingError: shards of another bundle, a folder that holds another run, or a loss that is
            no longer finite.
        ShardError: no shards there.
    """
    settings = recipe.training
    shards = location(shards)
    check_shards(shards, tokenizer)
    last = _checkpoint(folder, recipe, resume=resume)
    dataset = _windows(shards, settings, tokenizer)
    prompts = samples_of(find_shards(shards)[0], tokenizer, count=_NUM_SAMPLES)
    samples = folder / "samples.jsonl"
    use_cache = decoder.config.use_cache  # `Trainer` turns it off as it is made, for good
    trainer = DecoderTrainer(
        model=decoder,
        args=_arguments(settings, folder),
        dataset=dataset,
        first_step=0 if last is None else _step_of(last),
        data_collator=lambda batch: batch,
        callbacks=[]
        if _is_cut(settings)
        else [SampleAnswers(tokenizer, prompts, samples, every=settings.sample_every)],
    )
    plain = decoder.get_base_model() if hasattr(decoder, "get_base_model") else decoder
    plain.together = Processes() if _rank()[1] > 1 else None
    with _by_document(decoder):
        trainer.train(resume_from_checkpoint=last)
    plain.together = None
    decoder.config.use_cache = use_cache
    log = [line for line in trainer.state.log_history if "loss" in line or "train_loss" in line]
    if any(line.get("loss", 0) != line.get("loss", 0) for line in log):
        raise TrainingError("the loss is no longer finite; start again with a lower learning rate")
    if trainer.is_world_process_zero():
        text = "".join(json.dumps(line) + "\n" for line in log)
        write_atomically(folder / "log.jsonl", text.encode())
    return log


def _windows(shards: Location, settings: DecoderTraining, tokenizer: Tokenizer) -> TokenDataset:
    """Return this process's windows of packed documents."""
    dataset = TokenDataset(
        shards,
        batch_size=settings.batch_size,
        length=settings.length,
        seed=settings.seed,
        keep_whole=True,
        pad_id=tokenizer.vocabulary.pad_id,
        rank=_rank()[0],
        num_ranks=_rank()[1],
        drop_last=True,
    )
    if len(dataset) < 1:
        raise TrainingError(
            f"{shards}: expected at least one batch of {settings.batch_size} windows of "
            f"{settings.length} ids, received {dataset.num_ids} ids; lower the batch size"
        )
    return dataset


@contextmanager
def _by_document(decoder: "DvseForCausalLM | PeftModel") -> Iterator[None]:
    """Attend document by document on a processor, where torch's own attention was asked for."""
    plain: Any = decoder.get_base_model() if hasattr(decoder, "get_base_model") else decoder
    if torch.cuda.is_available() or plain.config._attn_implementation != "sdpa":
        yield
        return
    attend_by_document(plain)
    try:
        yield
    finally:
        plain.set_attn_implementation("sdpa")


def _arguments(settings: DecoderTraining, folder: Path) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder / "checkpoints"),
        max_steps=settings.max_steps,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay if settings.learns == "all" else 0.0,
        activation_checkpointing=settings.activation_checkpointing,
        adam_beta2=settings.beta2,
        max_grad_norm=settings.max_grad_norm,
        warmup_steps=settings.warmup_steps,
        lr_scheduler_type="cosine",
        optim=settings.optimizer,
        bf16=settings.precision == "bf16",
        fp16=settings.precision == "fp16",
        seed=settings.seed,
        data_seed=settings.seed,
        logging_steps=settings.log_every,
        logging_nan_inf_filter=False,
        save_steps=settings.save_every,
        # Shares of a decoder cannot be put together from a checkpoint again.
        save_strategy="no" if _is_cut(settings) else "steps",
        save_total_limit=2,
        ignore_data_skip=True,  # TokenDataset goes on by itself, without reading what came before
        dataloader_num_workers=settings.num_workers,
        remove_unused_columns=False,
        report_to="tensorboard" if _has_tensorboard() else "none",
        use_cpu=not torch.cuda.is_available(),
    )


def check_shards(shards: Location, tokenizer: Tokenizer) -> None:
    """Refuse a folder without shards, and shards of another bundle.

    Raises:
        TrainingError: which.
    """
    found_shards = find_shards(shards)
    if not found_shards:
        raise TrainingError(
            f"{shards}: expected shard-*.parquet written by dvse tokenize, found none"
        )
    for path in found_shards:
        found = read_metadata(path).bundle_fingerprint
        if found != tokenizer.fingerprint:
            raise TrainingError(
                f"{path}: written with the bundle {found[:16]}…, the decoder is to read those of "
                f"{tokenizer.fingerprint[:16]}…; tokenise again with this bundle"
            )


def _checkpoint(folder: Path, recipe: DecoderRecipe, *, resume: bool) -> str | None:
    """Return the last checkpoint, after a check that it belongs to the recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    path, wanted = folder / RECIPE_FILE, recipe.to_dict()
    found = json.loads(path.read_text()) if path.is_file() else None
    if resume and found is not None and found != wanted:
        raise TrainingError(
            f"{path}: the run in this folder has another recipe; give the same one, or another "
            "output folder"
        )
    checkpoints = folder / "checkpoints"
    last = last_whole_checkpoint(checkpoints, num_ranks=_rank()[1])
    if not resume and list(checkpoints.glob(f"{PREFIX_CHECKPOINT_DIR}-*")):
        raise TrainingError(
            f"{folder}: a run is there already; go on with --resume, or choose another folder"
        )
    write_atomically(path, (json.dumps(wanted, indent=2) + "\n").encode())
    return last


def last_whole_checkpoint(folder: Path, *, num_ranks: int) -> str | None:
    """Return the latest checkpoint that was written to its end, `None` where there is none.

    A signal may come while one is written. Each process writes the state of its random numbers, and
    the first one `trainer_state.json` when its weights and optimizer are there.

    Args:
        folder: with a folder for each checkpoint.
        num_ranks: processes that train.
    """
    states = [f"rng_state_{r}.pth" for r in range(num_ranks)] if num_ranks > 1 else []
    whole = []
    for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            whole += [(_step_of(path), path)] * all((path / name).is_file() for name in states)
    return str(max(whole)[1]) if whole else None


def _step_of(checkpoint: str | Path) -> int:
    state = json.loads((Path(checkpoint) / "trainer_state.json").read_text())
    return int(state["global_step"])


def _is_cut(settings: DecoderTraining) -> bool:
    """Whether each process has a share of the decoder alone: then none can answer by itself."""
    return settings.sharding == "fsdp" and _rank()[1] > 1


def _rank() -> tuple[int, int]:
    try:
        return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    except ValueError as error:
        raise ConfigError(f"RANK and WORLD_SIZE: expected whole numbers; {error}") from error


def _has_tensorboard() -> bool:
    from transformers.integrations import is_tensorboard_available

    return bool(is_tensorboard_available())
