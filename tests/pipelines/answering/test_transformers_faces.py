"""What users of transformers type, on the shipped directory as it is; answers are judged.

The Captioner is the yardstick: it has its own way from files to words.
"""

import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from transformers import AutoModelForCausalLM, AutoProcessor, AutoTokenizer, pipeline

import dvse
from dvse.errors import BundleIntegrityError, ConfigError, InputError
from pipelines import Captioner
from pipelines.tiny.samples import make_samples

SHIPPED = Path(dvse.__file__).parent / "bundles" / "tiny"
REPOSITORY = Path(dvse.__file__).parents[1]
WHO = [{"role": "user", "content": "Who are you?"}]
GREEDY = {"max_new_tokens": 64, "do_sample": False}


@pytest.fixture(scope="module")
def captioner() -> Captioner:
    return Captioner.load("tiny", threads=1)


@pytest.fixture(scope="module")
def processor():
    return AutoProcessor.from_pretrained(SHIPPED, threads=1)


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> Path:
    """The cat of the samples, which the shipped decoder names."""
    folder = tmp_path_factory.mktemp("pictures")
    make_samples(folder)
    path = folder / "cat.png"
    return path


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    t = np.arange(8000) / 16000
    path = tmp_path_factory.mktemp("sounds") / "sound.wav"
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * (200 + 300 * t) * t), 16000)
    return path


def asked(kind: str, value: object, question: str) -> list[dict]:
    content = [{"type": kind, kind: value}, {"type": "text", "text": question}]
    return [{"role": "user", "content": content}]


def test_generate_takes_a_chat_as_the_processor_gives_it(captioner, processor):
    chats = [WHO, [{"role": "user", "content": "你是谁？"}]]
    features = processor.apply_chat_template(
        chats, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert "modality_ids" in features
    ids = captioner.model.generate(**features, **GREEDY)
    answers = processor.batch_decode(ids[:, features["input_ids"].shape[1] :])
    assert answers == captioner([dvse.Text("Who are you?"), dvse.Text("你是谁？")])
    assert answers[0].startswith("I am tiny")


def test_generate_takes_a_call_as_the_processor_gives_it(captioner, processor, picture):
    features = processor(images=[picture, picture], text=["What is", "It"])
    ids = captioner.model.generate(**features, **GREEDY)
    for row, text in enumerate(["What is", "It"]):  # alone: no padding, the same answer
        alone = processor(images=picture, text=text)
        wanted = captioner.model.generate(**alone, **GREEDY)[0, alone["input_ids"].shape[1] :]
        found = ids[row, features["input_ids"].shape[1] :]
        assert found[: len(wanted)].tolist() == wanted.tolist()
    loss = captioner.model(**features, labels=features["input_ids"]).loss
    assert torch.isfinite(loss)


def test_text_generation(captioner):
    answers = pipeline("text-generation", model=str(SHIPPED))(
        [WHO, WHO], batch_size=2, return_full_text=False, **GREEDY
    )
    assert answers[1][0]["generated_text"] == captioner([dvse.Text("Who are you?")])[0]


def test_text_generation_goes_on_with_an_answer(captioner):
    whole = captioner([dvse.Text("Who are you?")])[0]
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED)
    pipe = pipeline("text-generation", model=captioner.model, tokenizer=tokenizer)
    chat = pipe([*WHO, {"role": "assistant", "content": "I am"}], **GREEDY)[0]["generated_text"]
    assert [turn["role"] for turn in chat] == ["user", "assistant"]
    assert chat[-1]["content"] == whole


def test_image_text_to_text(captioner, picture):
    expected = captioner([picture], prompt="What is this?")[0]
    assert expected == "a drawing of a cat"
    pipe = pipeline("image-text-to-text", model=str(SHIPPED))
    for value in (str(picture), Image.open(picture)):
        (found,) = pipe(text=asked("image", value, "What is this?"), generate_kwargs=GREEDY)
        assert found["generated_text"][-1] == {"role": "assistant", "content": expected}
    (found,) = pipe(
        images=str(picture), text="a photo of", return_full_text=False, generate_kwargs=GREEDY
    )
    assert isinstance(found["generated_text"], str)
    with pytest.raises(ConfigError, match="as generate_kwargs="):
        pipe(text=asked("image", str(picture), "What is this?"), do_sample=False)


def test_any_to_any_hears(captioner, sound):
    question = "Write down what you hear."
    (expected,) = captioner([sound], prompt=question)
    pipe = pipeline("any-to-any", model=str(SHIPPED))
    (found,) = pipe(
        text=asked("audio", str(sound), question), return_full_text=False, generate_kwargs=GREEDY
    )
    assert found["generated_text"] == expected


@pytest.mark.parametrize(
    ("first", "options"), [("import dvse\n", ""), ("", ", trust_remote_code=True")]
)
def test_every_auto_class_opens_the_directory_after_import_dvse_or_with_trust(
    first, options, tmp_path
):
    program = (
        f"{first}from transformers import AutoModelForCausalLM, AutoProcessor, AutoTokenizer\n"
        f"made = [a.from_pretrained({str(SHIPPED)!r}{options}) for a in "
        "(AutoProcessor, AutoTokenizer, AutoModelForCausalLM)]\n"
        "print(*(type(m).__name__ for m in made))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", program],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        },
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["DvseProcessor", "DvseTokenizer", "DvseForCausalLM"]
    assert "custom code" not in done.stderr


def test_the_model_itself_by_its_auto_class(captioner):
    model = AutoModelForCausalLM.from_pretrained(SHIPPED)
    assert type(model) is type(captioner.model)


def test_a_captioner_goes_to_other_processes(captioner, picture):
    data = pickle.dumps(captioner)
    assert len(data) < 2000
    again = pickle.loads(data)
    assert (again.name, again([picture])) == ("tiny", captioner([picture]))
    changed = Captioner.load("tiny", threads=1)
    with torch.no_grad():
        changed.model.model.norm.weight.add_(1.0)
    with pytest.raises(BundleIntegrityError, match="changed in memory"):
        pickle.loads(pickle.dumps(changed))


def test_a_captioner_takes_what_others_hold(captioner, picture, sound):
    seen, heard = captioner([picture, sound])
    pixels = np.array(Image.open(picture))
    samples, rate = soundfile.read(sound, dtype="float32")
    content = picture.read_bytes()
    pictures = [content, io.BytesIO(content), pixels, torch.from_numpy(pixels).permute(2, 0, 1)]
    assert (
        captioner([*pictures, {"bytes": content, "path": None}, Image.open(picture)]) == [seen] * 6
    )
    assert captioner(io.BytesIO(sound.read_bytes())) == heard
    recording = {"array": samples, "sampling_rate": rate}
    assert captioner([recording, sound.read_bytes(), {"path": str(sound)}]) == [heard] * 3
    with pytest.raises(InputError, match="neither a picture nor a recording"):
        captioner(b"neither of them")
