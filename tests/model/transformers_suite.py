"""transformers' own tests of a model, run on this one by `test_transformers_suite`.

Needs the root of a transformers source tree of the installed version in PYTHONPATH.
"""

import unittest

import pytest
import torch

pytest.importorskip("transformers_helpers")  # what the tree leaves out
pytest.importorskip("tests.test_modeling_common")  # without that tree there is nothing to run

import tests.test_expert_parallel_mixin as expert_parallel
import tests.test_tensor_parallel_mixin as tensor_parallel
from tests.causal_lm_tester import CausalLMModelTest, CausalLMModelTester
from tests.test_training_mixin import TrainingTesterMixin
from transformers.models.auto import modeling_auto

from model import DvseConfig, DvseForCausalLM, DvseModel

torch.set_num_threads(1)
# The suite looks a class's kind up by its name; its parallel tests run for listed models only.
modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES["dvse"] = "DvseForCausalLM"
modeling_auto.MODEL_MAPPING_NAMES["dvse"] = "DvseModel"
tensor_parallel.TP_DISTRIBUTED_TEST_MODEL_TYPES = None
expert_parallel.EP_DISTRIBUTED_TEST_MODEL_TYPES = None


class DenseTester(CausalLMModelTester):
    """Small configurations; each attribute that the configuration knows is given to it."""

    config_class = DvseConfig
    base_model_class = DvseModel
    causal_lm_class = DvseForCausalLM
    fields = {}

    def __init__(self, parent):
        super().__init__(parent)
        self.__dict__.update(self.fields)


class GateTester(DenseTester):
    fields = {"use_token_gate": True}


class ExpertsTester(DenseTester):
    fields = {"n_routed_experts": 8, "first_k_dense_replace": 1}


class GateAndExpertsTester(DenseTester):
    fields = {**GateTester.fields, **ExpertsTester.fields}


class Suite(
    CausalLMModelTest,
    TrainingTesterMixin,
    tensor_parallel.TensorParallelTesterMixin,
    expert_parallel.ExpertParallelTesterMixin,
):
    model_tester = None  # declared abstract by the mixins; set for each test
    pipeline_model_mapping = {}


class DenseTest(Suite, unittest.TestCase):
    model_tester_class = DenseTester


class GateTest(Suite, unittest.TestCase):
    model_tester_class = GateTester


class ExpertsTest(Suite, unittest.TestCase):
    model_tester_class = ExpertsTester


class GateAndExpertsTest(Suite, unittest.TestCase):
    model_tester_class = GateAndExpertsTester


del Suite, CausalLMModelTest, TrainingTesterMixin
