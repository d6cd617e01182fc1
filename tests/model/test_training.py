"""Trainer and adapters, as people train other models of transformers."""

import pytest
import torch
from transformers import Trainer, TrainingArguments

from model import DvseForCausalLM

peft = pytest.importorskip("peft")
pytestmark = [
    pytest.mark.filterwarnings("ignore:'pin_memory' argument"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`"),
]
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_up_proj", "down_proj"]


def arguments(folder, **fields):
    defaults = {
        "max_steps": 20,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "report_to": [],
        "use_cpu": True,
        "save_strategy": "no",
        "disable_tqdm": True,
        "seed": 0,
    }
    return TrainingArguments(output_dir=str(folder), **{**defaults, **fields})


@pytest.fixture
def rows(ids):
    return [{"input_ids": row, "labels": row} for row in ids] * 4


def test_trainer(make_model, kind, rows, tmp_path):
    model = make_model(**kind)
    trainer = Trainer(model=model, args=arguments(tmp_path), train_dataset=rows, eval_dataset=rows)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < before - 0.5


@pytest.mark.parametrize(
    "fields",
    [
        {"activation_checkpointing": True},
        {"bf16": True},
        {"gradient_accumulation_steps": 2, "max_grad_norm": 0.5},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_options_of_the_trainer(make_model, kinds, rows, tmp_path, fields):
    model = make_model(**kinds["gate and experts"])
    args = arguments(tmp_path, max_steps=10, **fields)
    trainer = Trainer(model=model, args=args, train_dataset=rows, eval_dataset=rows)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < before - 0.3


def test_a_run_that_stopped_goes_on_as_if_it_had_not(make_model, kinds, rows, tmp_path):
    weights = []
    kind = kinds["gate and experts"]
    for folder, stops in (("whole", False), ("stopped", True)):
        torch.manual_seed(0)
        model = make_model(**kind)
        settings = {"save_strategy": "steps", "save_steps": 2, "lr_scheduler_type": "constant"}
        args = arguments(tmp_path / folder, max_steps=2 if stops else 4, **settings)
        Trainer(model=model, args=args, train_dataset=rows).train()
        if stops:
            model = make_model(**kind)
            args = arguments(tmp_path / folder, max_steps=4, **settings)
            Trainer(model=model, args=args, train_dataset=rows).train(resume_from_checkpoint=True)
        weights.append(model.state_dict())
    for name, whole in weights[0].items():
        assert torch.allclose(whole, weights[1][name], atol=1e-6), name


def test_adapters_train_merge_and_load(make_model, kind, ids, rows, tmp_path):
    model = make_model(**kind)
    model.save_pretrained(tmp_path / "base")
    kept = {name: weight.clone() for name, weight in model.state_dict().items()}
    with torch.no_grad():
        before = model(ids).logits
    config = peft.LoraConfig(r=4, lora_alpha=16, target_modules=TARGETS, task_type="CAUSAL_LM")
    adapted = peft.get_peft_model(model, config)
    with torch.no_grad():
        assert torch.allclose(adapted(input_ids=ids).logits, before, atol=1e-6)
    Trainer(model=adapted, args=arguments(tmp_path), train_dataset=rows).train()
    adapted.eval()
    for name, weight in adapted.get_base_model().state_dict().items():
        plain = name.replace(".base_layer", "")
        if "lora_" not in name:
            assert torch.equal(weight, kept[plain]), name  # only the adapters were trained
    with torch.no_grad():
        after = adapted(input_ids=ids).logits
    assert not torch.allclose(after, before, atol=0.1)

    adapted.save_pretrained(tmp_path / "adapter")
    base = DvseForCausalLM.from_pretrained(tmp_path / "base")
    loaded = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    merged = adapted.merge_and_unload()
    assert type(merged) is DvseForCausalLM
    with torch.no_grad():
        assert torch.allclose(loaded(input_ids=ids).logits, after, atol=1e-5)
        assert torch.allclose(merged(ids).logits, after, atol=1e-5)
    merged.save_pretrained(tmp_path / "merged", max_shard_size="20KB")
    again = DvseForCausalLM.from_pretrained(tmp_path / "merged")
    with torch.no_grad():
        assert torch.equal(again(ids).logits, merged(ids).logits)
        told = merged.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=3)
    assert told.shape == (3, 14)


@pytest.mark.parametrize("targets", ["all-linear", None])
def test_adapters_where_peft_looks_for_them_itself(targets, make_model, kind, ids):
    """The gate is no linear layer to be replaced, and a default stands in PEFT's own table."""
    plain = make_model(**kind)
    before = plain(ids).logits
    model = peft.get_peft_model(plain, peft.LoraConfig(r=2, target_modules=targets))
    assert torch.allclose(model(ids).logits, before, atol=1e-6)  # adapters begin as nothing
    model.train()
    model(ids, labels=ids).loss.backward()
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert any("q_proj" in name for name in trained)
    assert not any("token_gate" in name for name in trained)
