"""Several documents in one row, and logits only where there is a label."""

import pytest
import torch
from transformers import AttentionInterface, DataCollatorWithFlattening, Trainer, TrainingArguments

from model.errors import ModelInputError

LENGTHS = (5, 3, 9, 1, 4)


@pytest.fixture
def documents():
    """No id twice, so that each tells the next."""
    ids = torch.randperm(59, generator=torch.Generator().manual_seed(3)) + 2
    return list(ids[: sum(LENGTHS)].split(LENGTHS))


@pytest.fixture
def packed(documents):
    """Two rows of 11 ids; the first ends with padding, a document of its own."""
    rows = (documents[0], documents[1], torch.zeros(3, dtype=torch.long)), documents[2:4]
    rows = (rows[0], (*rows[1], documents[0][:1]))
    positions = [torch.cat([torch.arange(len(d)) for d in row]) for row in rows]
    return torch.stack([torch.cat(row) for row in rows]), torch.stack(positions)


def alone(model, documents):
    with torch.no_grad():
        return [model(document[None]).logits[0] for document in documents]


@pytest.mark.filterwarnings("ignore:_compile flag on create_block_mask:DeprecationWarning")
@pytest.mark.parametrize(
    "implementation, with_gradients",
    [
        ("sdpa", True),
        ("sdpa", False),
        ("eager", False),
        pytest.param("flex_attention", False, marks=pytest.mark.slow),  # compiles for a minute
    ],
)
@pytest.mark.parametrize("use_cache", [None, False])
def test_documents_do_not_see_each_other(
    make_model, kind, documents, packed, implementation, with_gradients, use_cache
):
    # transformers tells documents apart only where there is no cache, and a model has one by
    # default, in training too: a leak that no error shows.
    model = make_model(**kind)
    expected = alone(model, documents)
    model.set_attn_implementation(implementation)
    ids, positions = packed
    with torch.set_grad_enabled(with_gradients):
        logits = model(ids, position_ids=positions, use_cache=use_cache).logits
    for row, place, document in ((0, slice(0, 5), 0), (0, slice(5, 8), 1), (1, slice(0, 9), 2)):
        assert torch.allclose(logits[row, place], expected[document], atol=1e-5)


def test_attention_that_makes_its_own_mask(make_model, kind, documents, packed):
    # As flash attention does: it is given no mask, and finds the documents in the positions.
    def attend(module, query, key, value, attention_mask, *, position_ids, scaling, **kwargs):
        assert attention_mask is None and key.shape[1] == 2 and kwargs["dropout"] == 0.0
        document = (position_ids == 0).cumsum(-1)
        is_seen = (document[:, None, :, None] == document[:, None, None, :]).tril()
        output = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=is_seen, scale=scaling, enable_gqa=True
        )
        return output.transpose(1, 2), None

    AttentionInterface.register("makes_its_own_mask", attend)
    model = make_model(**kind)
    expected = alone(model, documents)
    model.set_attn_implementation("makes_its_own_mask")
    ids, positions = packed
    logits = model(ids, position_ids=positions).logits
    assert torch.allclose(logits[0, :5], expected[0], atol=1e-5)
    assert torch.allclose(logits[0, 5:8], expected[1], atol=1e-5)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_a_mask_of_four_dimensions_does_the_same(
    make_model, kind, documents, packed, implementation
):
    model = make_model(**kind)
    model.set_attn_implementation(implementation)
    ids, positions = packed
    document = (positions == 0).cumsum(-1)
    is_seen = (document[:, None, :, None] == document[:, None, None, :]).tril()
    mask = is_seen
    if implementation == "eager":
        mask = torch.zeros(is_seen.shape).masked_fill(~is_seen, -torch.inf)
    by_mask = model(ids, position_ids=positions, attention_mask=mask).logits
    assert torch.allclose(by_mask, model(ids, position_ids=positions).logits, atol=1e-5)


def test_the_loss_of_packed_documents_is_the_mean_of_theirs(make_model, kind, documents):
    model = make_model(**kind)
    batch = DataCollatorWithFlattening()([{"input_ids": d.tolist()} for d in documents])
    assert batch["input_ids"].shape == (1, sum(LENGTHS))
    parts = [model(d[None], labels=d[None]).loss * (len(d) - 1) for d in documents if len(d) > 1]
    mean = torch.stack(parts).sum() / sum(n - 1 for n in LENGTHS)
    assert torch.allclose(model(**batch).loss, mean, atol=1e-5)


@pytest.mark.filterwarnings("ignore:'pin_memory' argument")
@pytest.mark.parametrize("labelled", [True, False])
def test_trainer_on_packed_documents(make_model, kind, documents, tmp_path, labelled):
    collate = DataCollatorWithFlattening()

    def collate_labelled(rows):
        batch = collate(rows)
        return {**batch, "logits_to_keep": "labelled"} if labelled else batch

    model = make_model(**kind)
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=60,
        per_device_train_batch_size=5,
        learning_rate=1e-2,
        lr_scheduler_type="constant",
        report_to=[],
        use_cpu=True,
        save_strategy="no",
        disable_tqdm=True,
        remove_unused_columns=False,
        prediction_loss_only=True,
    )
    rows = [{"input_ids": document.tolist()} for document in documents]
    Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collate_labelled).train()
    model.eval()
    for logits, document in zip(alone(model, documents), documents, strict=True):
        assert torch.equal(logits[:-1].argmax(-1), document[1:])


@pytest.mark.parametrize("num_items_in_batch", [None, 7])
def test_logits_only_where_there_is_a_label(make_model, kind, ids, num_items_in_batch):
    labels = ids.clone()
    labels[:, :6] = -100
    labels[2] = -100
    gradients, losses = [], []
    for keep in (0, "labelled"):
        torch.manual_seed(0)
        model = make_model(**kind).train()
        output = model(
            ids, labels=labels, logits_to_keep=keep, num_items_in_batch=num_items_in_batch
        )
        output.loss.backward()
        losses.append(output.loss.detach())
        gradients.append([p.grad for p in model.parameters()])
    assert output.logits.shape == (2 * 5, 61)
    with torch.no_grad():
        assert torch.allclose(output.logits.view(2, 5, 61), model(ids).logits[:2, 5:10], atol=1e-5)
    assert torch.allclose(*losses, atol=1e-6)
    for whole, part in zip(*gradients, strict=True):
        assert torch.allclose(whole, part, atol=1e-6)


def test_the_head_runs_for_labels_only(make_model, ids):
    model = make_model()
    seen = []
    model.lm_head.register_forward_hook(lambda m, args, out: seen.append(args[0].shape))
    labels = torch.full_like(ids, -100)
    labels[1, 4] = 7
    model(ids, labels=labels, logits_to_keep="labelled")
    assert seen == [(1, 32)]


@pytest.mark.parametrize("keep, labels", [("labelled", False), ("all", True)])
def test_bad_choice_of_logits(make_model, ids, keep, labels):
    with pytest.raises(ModelInputError, match=f"'labelled' together with labels, got '{keep}'"):
        make_model()(ids, labels=ids if labels else None, logits_to_keep=keep)
