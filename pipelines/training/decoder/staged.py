"""From a recipe to a model directory: stage by stage, in one process or in several.

    start ─► [new rows] ─► model ─► [adapters] ─► merged model ─► [all] ─► the model directory

A stage begins at the directory that the one before it wrote, so a run that was stopped goes on at
the stage it was at. In several processes each has its share of every batch: the whole decoder in
each, or with `sharding = "fsdp"` a share of every weight, gradient and moment.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dvse.errors import ConfigError
from dvse.remote.remote_path import Location
from dvse.tokenizer import Tokenizer
from model import DvseForCausalLM, ModelError
from pipelines.answering.model_directory import load_model, refuse_strangers, save_model
from pipelines.runs.processes import Processes
from pipelines.training.decoder.adapting import (
    check_rounding,
    let_learn,
    rounded,
    with_adapters,
)
from pipelines.training.decoder.attending import check_attention
from pipelines.training.decoder.loop import check_shards, train_decoder
from pipelines.training.decoder.optimizers import check_optimizer
from pipelines.training.decoder.recipe import DecoderRecipe
from pipelines.training.decoder.shares import (
    cut_beside_adapters,
    is_cut,
    put_together,
    share_of,
    with_what_was_learnt,
)
from pipelines.training.decoder.start import decoder_config, new_decoder, new_ids


@dataclass(frozen=True, kw_only=True)
class DecoderRun:
    """A training from its start to its model directory.

    Attributes:
        recipe: of all stages.
        tokenizer: whose ids the decoder reads; `bundle` is the folder it came from.
        shards: to train on.
        output: the model directory; logs and checkpoints lie in `output.run` beside it.
        resume: go on where a run in that folder stopped.
        tell: told what happens, in the first process alone.
    """

    recipe: DecoderRecipe
    tokenizer: Tokenizer
    bundle: Path
    shards: Location
    output: Path
    resume: bool = False
    tell: Callable[[str], None] = print

    @property
    def folder(self) -> Path:
        """Where logs, samples and checkpoints go."""
        return self.output.with_name(self.output.name + ".run")

    def train(self) -> list[dict[str, Any]]:
        """Run all stages that are missing and return the log of the last.

        Raises:
            ConfigError: a shape that cannot be, a sharding or attention that cannot train so, no
                optimiser, or too little memory.
            MissingExtraError: the optimiser's library is not installed.
            TrainingError, ShardError: see `train_decoder`.
        """
        stages = self.recipe.in_stages()
        self._check_loops()
        decoder, log = None, []
        for number, stage in enumerate(stages, start=1):
            is_last = number == len(stages)
            place = self.folder if len(stages) == 1 else self.folder / f"stage-{number}"
            target = self.output if is_last else place / "model"
            if self.resume and not is_last and (target / "config.json").is_file():
                decoder = load_model(target).model
                continue
            if decoder is None:
                decoder = self._start(stage)
            base = place / "base" if len(stages) > 1 else self._lone_base()
            learner = self._learner(decoder, stage, base)
            log = train_decoder(
                learner, self.tokenizer, self.shards, stage, place, resume=self.resume
            )
            self._save(learner, stage, base, target, merge=None if is_last else True)
            self._say(f"{target}: trained for {stage.training.max_steps} steps, {log[-1]}")
            decoder = None if is_last else load_model(target).model
        return log

    def check(self, num_processes: int, tell: Callable[[str], None] = lambda line: None) -> None:
        """Refuse what can be refused without weights.

        Args:
            num_processes: that are to train.
            tell: told what each stage holds on a card.

        Raises:
            ConfigError, MissingExtraError: see `train`; or an output that holds something else.
            TrainingError: no such checkpoint, no shards, or shards of another bundle.
        """
        from pipelines.runs.processes import card_bytes
        from pipelines.training.decoder.memory import GIB, training_memory

        self._check_loops()
        refuse_strangers(self.output)
        vocabulary = self.tokenizer.vocabulary
        try:
            stages = self.recipe.in_stages()
            config = decoder_config(stages[0], vocabulary)
            check_rounding(config, self.recipe)
            for stage in stages:
                added = new_ids(vocabulary)
                memory = training_memory(config, stage, added, num_cards=num_processes)
                tell(memory.table(card_gib=card_bytes() / GIB))
                memory.check_room(card_bytes(), stage.training)
        except ModelError as error:
            raise ConfigError(f"the recipe's model: {error}") from error
        check_shards(self.shards, self.tokenizer)

    def _check_loops(self) -> None:
        for stage in self.recipe.in_stages():
            check_optimizer(stage.training.optimizer)
            check_attention(stage.training.attention)

    def _start(self, stage: DecoderRecipe) -> DvseForCausalLM:
        """Return the decoder to begin with, after all that can be said without its weights."""
        self.check(Processes().count, self._say)
        try:
            return new_decoder(stage, self.tokenizer)
        except ModelError as error:
            raise ConfigError(f"the recipe's model: {error}") from error

    def _lone_base(self) -> Path:
        return self.output.with_name(self.output.name + ".base")

    def _learner(self, decoder: DvseForCausalLM, stage: DecoderRecipe, base: Path) -> Any:
        """Return what is trained: the decoder, it with adapters, or this process's share of it."""
        is_shared = stage.training.sharding == "fsdp" and Processes().count > 1
        if stage.adapters is None and not is_shared:
            let_learn(decoder, stage.training, new_ids(self.tokenizer.vocabulary))
            return _attending(decoder, stage)
        if Processes().rank == 0 and not (self.resume and base.is_dir()):
            kept = decoder if stage.adapters is None else rounded(decoder, stage.adapters)
            save_model(kept, self.bundle, base)
        Processes().from_first(None)  # the others wait for it
        if stage.adapters is None:
            return _attending(share_of(base), stage)
        self._say(f"the decoder that the adapters belong to: {base}")
        learner = self._under_adapters(base, stage)
        return cut_beside_adapters(learner) if is_shared else learner

    def _under_adapters(self, base: Path, stage: DecoderRecipe) -> Any:
        """Return the decoder in a folder under new adapters."""
        assert stage.adapters is not None
        decoder = _attending(load_model(base).model, stage)
        return with_adapters(decoder, stage.adapters, new_ids(self.tokenizer.vocabulary))

    def _save(
        self, learner: Any, stage: DecoderRecipe, base: Path, target: Path, *, merge: bool | None
    ) -> None:
        """Write the model directory, in the first process; shares are put together before."""
        whole = learner
        if is_cut(learner) and stage.adapters is None:
            whole = put_together(learner, target.with_name(target.name + ".gathered"))
        if Processes().rank == 0:
            if is_cut(learner) and stage.adapters is not None:
                whole = with_what_was_learnt(self._under_adapters(base, stage), learner)
            with torch.no_grad():
                save_model(whole, self.bundle, target, merge=merge)
        Processes().from_first(None)

    def _say(self, line: str) -> None:
        if Processes().rank == 0:
            self.tell(line)


def _attending(decoder: DvseForCausalLM, stage: DecoderRecipe) -> DvseForCausalLM:
    """Let a decoder attend as a stage says."""
    if stage.training.attention is not None:
        decoder.set_attn_implementation(stage.training.attention)
    return decoder
