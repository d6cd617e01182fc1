"""What transformers' common tests import and its source distribution leaves out, written anew.

Importing this provides the modules; one that the source tree has itself, as a checkout does, is
left alone. Nothing here is copied: it is what the tests ask for, as small as they allow. Generation
and configuration are not among them: `test_generation` and `test_configuration_dvse` have ours.
"""

import copy
import importlib
import importlib.util
import os
import socket
import sys
import types
import unittest

import torch
import torch.distributed as dist
import torch.multiprocessing as processes


def stand_in() -> list[str]:
    """Provide each module of `tests` that is missing, and return their names."""
    wanted = {
        "tests.distributed_testing_utils": {"run_distributed": run_distributed},
        "tests.exporters.test_export": {"ExportTesterMixin": type("ExportTesterMixin", (), {})},
        "tests.generation.test_utils": {"GenerationTesterMixin": GenerationTesterMixin},
        "tests.causal_lm_tester": {"CausalLMModelTester": CausalLMModelTester},
    }
    missing = [name for name in wanted if not _is_there(name)]
    for name in missing:
        package, _, _ = name.rpartition(".")
        if package not in sys.modules and not _is_there(package):
            sys.modules[package] = types.ModuleType(package)
            sys.modules[package].__path__ = []
        module = types.ModuleType(name)
        module.__dict__.update(wanted[name])
        sys.modules[name] = module
    if "tests.causal_lm_tester" in missing:
        sys.modules["tests.causal_lm_tester"].CausalLMModelTest = _model_test()
    return missing


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ModuleNotFoundError, ValueError):
        return False


class GenerationTesterMixin:
    """Marks models that generate."""


class CausalLMModelTester:
    """A small configuration, given each attribute that it knows, and a batch of ids."""

    config_class = base_model_class = causal_lm_class = None

    def __init__(self, parent: unittest.TestCase) -> None:
        self.parent = parent
        self.batch_size, self.seq_length, self.is_training = 13, 7, True
        self.vocab_size, self.hidden_size, self.intermediate_size = 99, 32, 32
        self.num_hidden_layers, self.num_attention_heads, self.num_key_value_heads = 2, 2, 2
        self.head_dim, self.max_position_embeddings = 16, 512
        self.num_experts_per_tok, self.moe_intermediate_size = 2, 16
        self.pad_token_id, self.bos_token_id, self.eos_token_id = 0, 1, 2
        self.hidden_act, self.attention_dropout, self.initializer_range = "silu", 0.0, 0.02

    @property
    def all_model_classes(self) -> list[type]:
        return [self.base_model_class, self.causal_lm_class]

    def get_config(self):
        known = {field for field in dir(self.config_class) if not field.startswith("_")}
        return self.config_class(**{k: v for k, v in vars(self).items() if k in known})

    def prepare_config_and_inputs_for_common(self):
        shape = (self.batch_size, self.seq_length)
        ids = torch.randint(3, self.vocab_size, shape, generator=torch.Generator().manual_seed(0))
        return self.get_config(), {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _model_test() -> type:
    common = importlib.import_module("tests.test_modeling_common")

    class CausalLMModelTest(common.ModelTesterMixin, GenerationTesterMixin):
        """Runs the common tests on the classes of `model_tester_class`."""

        model_tester_class = None

        def setUp(self) -> None:
            self.model_tester = self.model_tester_class(self)
            self.all_model_classes = self.model_tester.all_model_classes

        def test_a_batch_gives_states_and_logits(self) -> None:
            config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
            shape = tuple(inputs["input_ids"].shape)
            for model_class in self.all_model_classes:
                model = model_class(copy.deepcopy(config)).eval()
                output = model(**inputs)
                found = getattr(output, "logits", None)
                width = config.hidden_size if found is None else config.vocab_size
                found = output.last_hidden_state if found is None else found
                self.assertEqual(tuple(found.shape), (*shape, width))

    return CausalLMModelTest


def run_distributed(world_size: int = 2):
    """Let a function run in so many gloo processes, with the arguments that it is called with."""

    def wrap(function):
        def call(*args) -> None:
            with socket.socket() as found:
                found.bind(("127.0.0.1", 0))
                port = found.getsockname()[1]
            # By name: a new process can only look it up once the stand-ins are there.
            where = (function.__module__, function.__name__)
            processes.spawn(_one_of, (world_size, port, where, args), nprocs=world_size)

        return call

    return wrap


def _one_of(rank: int, world_size: int, port: int, where: tuple[str, str], args: tuple) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world_size)
    try:
        getattr(importlib.import_module(where[0]), where[1])(rank, *args)
    finally:
        dist.destroy_process_group()


if _is_there("tests.test_modeling_common"):  # without that tree there is nothing to stand in for
    stand_in()
