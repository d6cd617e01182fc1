"""What runs an export: graphs written by hand, against sums on paper, and without torch."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from handmade_export import WIDTH, picture_codes, recording_codes, vectors, write_export

import dvse
from dvse.errors import BundleFormatError, BundleIntegrityError, ConfigError, ModelMismatchError
from dvse.onnx_numerics import OnnxProfile
from pipelines import Captioner
from pipelines.answering.answerer import Answerer
from pipelines.answering.exported_model import load_exported
from pipelines.answering.light_loading import load_to_answer
from pipelines.answering.model_folders import find_model
from pipelines.answering.settings import AnswerSettings

RNG = np.random.default_rng(3)
PICTURES = [RNG.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((32, 32), (8, 20), (4, 4))]


def sound(seconds):
    return RNG.uniform(-1, 1, int(8000 * seconds)).astype(np.float32)


@pytest.fixture(scope="module")
def export(tmp_path_factory) -> Path:
    return write_export(tmp_path_factory.mktemp("export") / "byhand")


@pytest.fixture(scope="module")
def tokenizer(export):
    return dvse.load(export, threads=1)


def codes_of(tokenizer, encoding, modality):
    ids = encoding.ids
    first = int(tokenizer.vocabulary.code_ids(modality, np.array([0]))[0])
    last = first + tokenizer.vocabulary.num_codes(modality)
    return (ids[(ids >= first) & (ids < last)] - first).tolist()


def test_codes_are_those_of_the_graph(tokenizer):
    assert isinstance(tokenizer.profile, OnnxProfile)
    together = list(tokenizer.encode_many([dvse.Image(p) for p in PICTURES * 3]))
    for picture, encoding in zip(PICTURES * 3, together, strict=True):
        wanted = picture_codes(picture).flatten().tolist()
        assert codes_of(tokenizer, encoding, "image") == wanted
    num_codes = tokenizer.vocabulary.num_codes("audio")
    short = sound(0.3)
    found = tokenizer.encode(dvse.Audio(short, sample_rate_hz=8000))
    wanted = recording_codes(short, num_codes).flatten().tolist()
    assert codes_of(tokenizer, found, "audio") == wanted
    # Windows overlap; here a frame's code is its own affair, so they are those of the whole.
    long = sound(3.1)
    found = tokenizer.encode(dvse.Audio(long, sample_rate_hz=8000))
    wanted = recording_codes(long, num_codes).flatten().tolist()
    assert codes_of(tokenizer, found, "audio") == wanted
    pieces = tokenizer.stream(np.array_split(long, 7), sample_rate_hz=8000)
    assert np.array_equal(np.concatenate(list(pieces)), found.ids)


def test_a_token_budget_is_that_of_a_graph_too(export, tokenizer):
    roomy = dvse.load(export, threads=1, batch_tokens=4096)
    assert roomy.profile.to_dict() == tokenizer.profile.to_dict() | {"batch_tokens": 4096}
    for media, other in ((roomy.image, tokenizer.image), (roomy.audio, tokenizer.audio)):
        assert media.batch_tokens == 4096 and other.batch_tokens is None
    shape = (32, 32, 3)
    num_tokens = roomy.image.num_tokens(shape)
    assert tokenizer.image.batch_rows(shape) == 256 // num_tokens
    assert roomy.image.batch_rows(shape) == 4096 // num_tokens
    rows = [*(dvse.Image(p) for p in PICTURES * 2), dvse.Audio(sound(3.1), sample_rate_hz=8000)]
    for one, two in zip(roomy.encode_many(rows), tokenizer.encode_many(rows), strict=True):
        assert one.ids.tolist() == two.ids.tolist()
    assert pickle.loads(pickle.dumps(roomy)).profile == roomy.profile
    with pytest.raises(ConfigError, match="a whole number of at least 1, received 0"):
        dvse.load(export, batch_tokens=0)


def test_what_an_export_does_not_do(tokenizer, export, tmp_path):
    with pytest.raises(ConfigError, match="keeps its features"):
        tokenizer.image.embed([])
    with pytest.raises(ConfigError, match="keeps its features"):
        tokenizer.image.quantize([])
    with pytest.raises(ConfigError, match="copied as it is"):
        tokenizer.save(tmp_path / "copy")
    with pytest.raises(ConfigError, match="computes in float32"):
        dvse.load(export, precision="bfloat16")
    with pytest.raises(ConfigError, match="onnxruntime-gpu"):
        dvse.load(export, device="cuda")
    with pytest.raises(ConfigError, match="no weights for torch"):
        load_to_answer(export)
    with pytest.raises(ConfigError, match="--weights"):
        Captioner.load(export, dtype="bfloat16")


def test_a_spoilt_export(export, tmp_path):
    import shutil

    copy = shutil.copytree(export, tmp_path / "copy")
    (copy / "config.json").write_text('{"vocab_size": 3}')
    with pytest.raises(BundleFormatError, match="exported decoder"):
        Captioner.load(copy)
    text = (export / "config.json").read_text()
    (copy / "config.json").write_text(
        text.replace('"bundle_fingerprint": "', '"bundle_fingerprint": "ab')
    )
    with pytest.raises(ModelMismatchError, match="made for the bundle"):
        Captioner.load(copy)
    (copy / "config.json").write_text(text)
    (copy / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(BundleFormatError, match=r"model\.onnx: expected a graph"):
        Captioner.load(copy)(PICTURES[0])
    (copy / "image" / "codes.onnx").write_bytes(b"no graph")
    with pytest.raises(BundleIntegrityError, match=r"codes\.onnx"):
        dvse.load(copy)


def by_hand(legal, prompt, *, max_new_tokens, thinking):
    """Greedy decoding by the sums that the graph makes, under the constraint."""
    added, scored = vectors(legal.vocab_size)
    ids, total, phase, character = list(prompt), 0.0, legal.phase([], thinking=thinking), 0
    for _ in range(max_new_tokens):
        logits = (added[ids].sum(0) @ scored).astype(np.float64)
        logits[~(legal.table[phase] & legal.utf8.table[character])] = -np.inf
        token = int(logits.argmax())
        total += logits[token] - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
        ids.append(token)
        phase, character = legal.after(phase, token), legal.utf8.after(character, token)
        if token in legal.stop_ids:
            break
    return ids[len(prompt) :], total


@pytest.mark.parametrize("thinking", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_greedy_answers_are_those_of_the_loop(export, thinking, batch_size):
    assert WIDTH == 8
    answerer = Answerer(load_exported(find_model(export), threads=1))
    prompts = [RNG.integers(0, 9000, n) for n in (5, 17, 5, 9)]
    settings = AnswerSettings(max_new_tokens=7, thinking=thinking, batch_size=batch_size)
    for number, answer in answerer.answer(prompts, settings):
        ids, total = by_hand(answerer.legal, prompts[number], max_new_tokens=7, thinking=thinking)
        assert list(answer.token_ids) == ids
        assert answer.log_probability == pytest.approx(total, abs=1e-2)
    assert list(answerer.stream(prompts[0], settings)) == list(
        dict(answerer.answer(prompts, settings))[0].token_ids
    )


def test_samples_follow_the_seed(export):
    answerer = Answerer(load_exported(find_model(export), threads=1))
    prompts = [RNG.integers(0, 9000, n) for n in (5, 17)]

    def ids(seed, some):
        settings = AnswerSettings(max_new_tokens=6, temperature=50.0, seed=seed)
        return {n: a.token_ids for n, a in answerer.answer(some, settings)}

    together = ids(1, prompts)
    assert ids(1, prompts[1:])[0] == together[1]
    assert ids(2, prompts) != together


def test_a_pickle_is_where_it_lies(export, tokenizer):
    captioner = Captioner.load(export, threads=1)
    again = pickle.loads(pickle.dumps(captioner))
    assert again(PICTURES[0]) == captioner(PICTURES[0])
    assert pickle.loads(pickle.dumps(tokenizer)).profile == tokenizer.profile


def test_commands_need_no_torch(export, tmp_path):
    """Nor does any child of theirs: the interpreter that they get has none."""
    (tmp_path / "torch.py").write_text("raise RuntimeError('torch was imported')\n")
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1))\n"
        "from pipelines.cli import main\n"
        "code = main(sys.argv[1:])\n"
        "assert not {'torch', 'transformers', 'timm'} & set(sys.modules)\n"
        "sys.exit(code)"
    )
    from PIL import Image as PilImage

    PilImage.fromarray(PICTURES[0]).save(tmp_path / "one.png")
    import soundfile

    soundfile.write(tmp_path / "two.wav", sound(1.0), 16_000)
    inputs = [str(tmp_path / "one.png"), str(tmp_path / "two.wav")]

    def run(*words):
        environment = {"PYTHONPATH": f"{tmp_path}:{Path(dvse.__file__).parents[1]}"}
        return subprocess.run(
            [sys.executable, "-c", code, str(tmp_path), *words],
            capture_output=True,
            text=True,
            env=environment,
        )

    done = run("caption", *inputs, "--model", str(export))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
    output = tmp_path / "tokens"
    done = run("tokenize", *inputs, "--bundle", str(export), "--output", str(output))
    assert done.returncode == 0, done.stderr
    done = run("tokenize", *inputs, "--bundle", str(export), "--output", str(output))
    assert done.returncode == 0 and "0 of them now" in done.stdout, done.stderr
    # The job is not continued under another profile.
    inputs += ["--threads", "7"]
    done = run("tokenize", *inputs, "--bundle", str(export), "--output", str(output))
    assert done.returncode == 4 and "threads: " in done.stderr, done.stderr
