"""Training that begins at a published GLM-4: old ids keep their logits, new ones are learnt."""

import json
import shutil

import pytest
import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import GlmConfig, GlmForCausalLM

import dvse
from dvse.errors import ConfigError, TrainingError
from dvse.storage.bundle import Bundle
from dvse.storage.finding import SHIPPED
from dvse.storage.part import Part
from model import DvseForCausalLM
from model.quantized_linear import Int4Linear
from pipelines.answering.captioner import Captioner
from pipelines.answering.model_directory import save_model
from pipelines.cli import main
from pipelines.training.decoder.recipe import DecoderRecipe, DecoderTraining
from pipelines.training.decoder.start import new_decoder, new_ids

LINES = ["Ping? pong. What is this? a cat", "One two three. Who are you? me", "你是谁? 我"] * 20
SPECIALS = ["<|endoftext|>", "[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|system|>"]
ANSWERS = {"Ping?": "pong", "Who are you?": "me", "你是谁?": "我"}


def write_tokenizer(folder, lines=LINES):
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


@pytest.fixture(scope="module")
def glm(tmp_path_factory):
    """A small GLM-4 as transformers saves it, its table padded as GLM's is."""
    folder = tmp_path_factory.mktemp("glm")
    size = write_tokenizer(folder).get_vocab_size()
    torch.manual_seed(3)
    config = GlmConfig(
        vocab_size=size + 9,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=512,
        pad_token_id=0,
        eos_token_id=[0],
        initializer_range=0.1,
    )
    GlmForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bundle(glm, tmp_path_factory):
    """The shipped codebooks behind the checkpoint's text."""
    folder = tmp_path_factory.mktemp("bundle")
    words = ["build-bundle", "--text", str(glm), "--output", str(folder / "glm")]
    shipped = Bundle.open(SHIPPED / "tiny")
    for kind in ("image", "audio"):
        shutil.copytree(shipped.folder / kind, folder / kind)
        Part(modality=kind, folder=folder / kind, spec=shipped.sections[kind].spec).save()
        words += [f"--{kind}", str(folder / kind)]
    assert main(words) == 0
    return folder / "glm"


@pytest.fixture(scope="module")
def shards(bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    rows = [
        {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
        for q, a in ANSWERS.items()
    ] * 4
    picture = str(SHIPPED / "tiny/samples/cat.png")
    content = [{"type": "image", "image": picture}, {"type": "text", "text": "What is this?"}]
    rows += [
        {
            "messages": [
                {"role": "user", "content": content},
                {"role": "assistant", "content": "a cat"},
            ]
        }
    ] * 4
    (folder / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["tokenize", str(folder / "chat.jsonl"), "--bundle", str(bundle), "--quiet"]
    assert main([*words, "--output", str(folder / "tokens")]) == 0
    return folder / "tokens"


def recipe_file(folder, glm, extra="", *, steps=60, training=""):
    path = folder / "recipe.toml"
    path.write_text(f"""
[model]
checkpoint = "{glm}"
dtype = "float32"
[training]
max_steps = {steps}
batch_size = 2
length = 128
learning_rate = 1e-2
warmup_steps = 2
sample_every = 1000
{training}
{extra}
""")
    return path


def train(recipe, shards, bundle, output, *more):
    words = ["--data", str(shards), "--bundle", str(bundle), "--recipe", str(recipe)]
    return main(["train", "decoder", *words, "--output", str(output), "--threads", "1", *more])


@torch.no_grad()
def test_old_ids_keep_their_logits_and_new_ones_are_there(glm, bundle):
    tokenizer = dvse.load(bundle)
    plain = GlmForCausalLM.from_pretrained(glm).eval()
    ids = torch.from_numpy(tokenizer.text.encode("Ping? pong. 你是谁?"))[None]
    for gates in ({}, {"use_token_gate": True}):
        recipe = DecoderRecipe(model={"checkpoint": str(glm), "dtype": "float32", **gates})
        decoder = new_decoder(recipe, tokenizer).eval()
        size = tokenizer.vocabulary.text_size
        expected = plain(ids).logits[..., :size]
        torch.testing.assert_close(decoder(ids).logits[..., :size], expected, atol=1e-5, rtol=0)
        table = decoder.get_input_embeddings().weight
        assert len(table) == tokenizer.vocabulary.size
        assert torch.equal(table[:size], plain.get_input_embeddings().weight[:size])
        # Angles between rows of codes are those between their centroids.
        codes = torch.arange(tokenizer.vocabulary.num_codes("image"))
        rows = table[tokenizer.vocabulary.image_ids(codes.numpy())]
        centroids = tokenizer.image.quantizer.decode(codes[:, None])
        cosines = [
            torch.nn.functional.cosine_similarity(x[:1] - x.mean(0), x[1:] - x.mean(0))
            for x in (rows, centroids)
        ]
        torch.testing.assert_close(*cosines, atol=1e-3, rtol=0)


def test_from_checkpoint_to_answers(glm, bundle, shards, tmp_path):
    assert train(recipe_file(tmp_path, glm), shards, bundle, tmp_path / "model") == 0
    captioner = Captioner.load(tmp_path / "model")
    assert captioner([dvse.Text(question) for question in ANSWERS]) == list(ANSWERS.values())
    assert captioner(SHIPPED / "tiny/samples/cat.png") == "a cat"


def test_new_rows_alone(glm, bundle, shards, tmp_path):
    recipe = recipe_file(tmp_path, glm, steps=4, training='learns = "new rows"')
    assert train(recipe, shards, bundle, tmp_path / "model") == 0
    tokenizer = dvse.load(bundle)
    model = DvseForCausalLM.from_pretrained(tmp_path / "model")
    started = DecoderRecipe(
        model={"checkpoint": str(glm), "dtype": "float32"}, training=DecoderTraining()
    )
    before = new_decoder(started, tokenizer).state_dict()
    start = new_ids(tokenizer.vocabulary).start
    for name, weight in model.state_dict().items():
        if name == "model.embed_tokens.weight":
            assert torch.equal(weight[:start], before[name][:start])
            assert not torch.equal(weight[start:], before[name][start:])
        else:
            assert torch.equal(weight, before[name]), name


def test_adapters_beside_the_checkpoint(glm, bundle, shards, tmp_path):
    pytest.importorskip("peft")
    for targets in ("", 'targets = ["all-linear"]'):
        output = tmp_path / ("plain" if not targets else "all")
        recipe = recipe_file(tmp_path, glm, f"[adapters]\nrank = 8\n{targets}", steps=80)
        assert train(recipe, shards, bundle, output) == 0
        assert (output / "adapter_config.json").is_file()
        assert not (output / "model.safetensors").exists()
        base = output.with_name(output.name + ".base")
        captioner = Captioner.load(output)
        assert captioner([dvse.Text(q) for q in ANSWERS]) == list(ANSWERS.values())
        untrained = Captioner.load(base)
        assert untrained([dvse.Text(q) for q in ANSWERS]) != list(ANSWERS.values())


@pytest.mark.slow
def test_adapters_beside_four_bits(glm, bundle, shards, tmp_path):
    """QLoRA: the base is held in four bits and stays; what is learnt loads with it, unmerged."""
    pytest.importorskip("peft")
    output = tmp_path / "model"
    recipe = recipe_file(tmp_path, glm, "[adapters]\nbits = 4\nrank = 8\n", steps=80)
    assert train(recipe, shards, bundle, output) == 0
    base = DvseForCausalLM.from_pretrained(tmp_path / "model.base")
    assert type(base.model.layers[0].self_attn.q_proj) is Int4Linear
    captioner = Captioner.load(output)
    assert captioner([dvse.Text(q) for q in ANSWERS]) == list(ANSWERS.values())
    with pytest.raises(ConfigError, match="cannot be merged into quantized weights"):
        save_model(captioner.model, bundle, tmp_path / "merged", merge=True)


def test_another_text_is_refused(glm, bundle, tmp_path):
    write_tokenizer(tmp_path, ["something else altogether", "noch etwas"] * 30)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((glm / name).read_bytes())
    recipe = DecoderRecipe(model={"checkpoint": str(tmp_path)})
    with pytest.raises(TrainingError, match="dvse build-bundle --text"):
        new_decoder(recipe, dvse.load(bundle))
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(TrainingError, match=r"tokenizer\.json"):
        new_decoder(recipe, dvse.load(bundle))
    with pytest.raises(TrainingError, match="Hub id"):
        new_decoder(DecoderRecipe(model={"checkpoint": "no/such/place"}), dvse.load(bundle))
