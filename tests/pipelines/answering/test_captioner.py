"""The front door for words: inputs of every kind, order, options, and what bad input costs."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import soundfile

import dvse
import pipelines
from dvse.errors import (
    ConfigError,
    DecodeError,
    InputError,
    MissingFileError,
    PromptTooLongError,
)
from dvse.items import Audio, Image, Text
from pipelines import Caption, Captioner

RATE_HZ = 16000


@pytest.fixture(scope="module")
def captioner(random_model):
    return Captioner.load(random_model)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    for n in range(3):
        pixels = rng.integers(0, 256, (32, 32 * (n + 1), 3), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(folder / f"{n}.png")
        sound = rng.uniform(-0.5, 0.5, RATE_HZ // 4 * (3 - n))
        soundfile.write(folder / f"{n}.wav", sound, RATE_HZ)
    (folder / "q.txt").write_text("Who are you?")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
    (folder / "empty.wav").touch()
    return folder


_MEDIA = ("0.wav", "1.wav", "0.png")


def short(captioner, inputs, **options):
    return captioner(inputs, **{"max_new_tokens": 6, **options})


def test_one_gives_one_and_a_list_gives_a_list(captioner, files):
    one = short(captioner, files / "0.png")
    assert isinstance(one, str) and one
    assert short(captioner, [files / "0.png"]) == [one]
    assert short(captioner, []) == []


def test_order_and_neighbours(captioner, files):
    inputs = [files / name for name in ("2.png", "0.wav", "q.txt", "0.png", "2.wav", "1.png")]
    alone = [short(captioner, value) for value in inputs]
    assert len(set(alone)) == len(alone)
    for batch_size in (1, 2, 32):
        assert short(captioner, inputs, batch_size=batch_size) == alone


def test_every_form_of_the_same_picture(captioner, files):
    path = files / "1.png"
    picture = PIL.Image.open(path)
    forms = [str(path), path, Image(path), Image(path.read_bytes()), picture, np.asarray(picture)]
    assert len(set(short(captioner, forms))) == 1


def test_every_form_of_the_same_recording(captioner, files):
    path = files / "1.wav"
    samples, rate = soundfile.read(path, dtype="float32")
    forms = [str(path), Audio(path), Audio(path.read_bytes()), Audio(samples, rate)]
    assert len(set(short(captioner, forms))) == 1


def test_several_items_in_one_question(captioner, files):
    row = [files / "0.png", files / "0.wav"]
    (together,) = short(captioner, [row], details=True)
    picture, recording = short(captioner, row, details=True)
    assert together.num_prompt_ids > max(picture.num_prompt_ids, recording.num_prompt_ids)


def test_a_prompt_is_the_same_as_a_text_in_the_row(captioner, files):
    path = files / "0.png"
    (asked,) = short(captioner, [[path, Text("Which colour?")]])
    assert short(captioner, path, prompt="Which colour?") == asked
    assert short(captioner, path) == short(captioner, path, prompt="What is this?")


def test_details(captioner, files):
    caption = short(captioner, files / "0.png", details=True)
    assert isinstance(caption, Caption)
    assert caption.text == str(caption) == short(captioner, files / "0.png")
    assert 1 <= len(caption.token_ids) <= 6
    assert caption.num_prompt_ids > 64  # 8 x 8 codes, brackets and the chat format
    assert caption.log_probability < 0
    assert caption.seconds > 0
    assert caption.reasoning is None
    with pytest.raises(AttributeError):
        caption.text = "other"


def test_thinking_comes_apart_from_the_answer(captioner, files):
    caption = short(captioner, files / "0.png", thinking=True, details=True, max_new_tokens=30)
    assert caption.token_ids[0] == captioner.tokenizer.vocabulary.special_id("<think>")
    assert isinstance(caption.reasoning, str)
    assert "<think>" not in caption.text + caption.reasoning


def test_stream_adds_up_to_the_caption(captioner, files):
    streamed = {name: list(short(captioner, files / name, stream=True)) for name in _MEDIA}
    assert max(map(len, streamed.values())) > 1
    for name, pieces in streamed.items():
        assert "".join(pieces) == short(captioner, files / name)
    with pytest.raises(ConfigError, match="one input"):
        short(captioner, [files / "0.wav"], stream=True)


def test_sampling_needs_a_temperature_and_repeats_with_its_seed(captioner, files):
    path = files / "0.png"
    greedy = short(captioner, path)
    assert short(captioner, path, seed=4) == greedy
    warm = short(captioner, path, seed=4, temperature=2.0)
    assert warm == short(captioner, [files / "1.wav", path], seed=4, temperature=2.0)[1]
    assert len({short(captioner, path, seed=n, temperature=2.0) for n in range(4)}) > 1


def test_a_bad_item_costs_its_place_and_no_other(captioner, files):
    inputs = [
        *(files / "0.png", files / "missing.png", files / "broken.png", files / "0.wav"),
        *(files / "empty.wav", b"bytes", files / "q.txt", "no file"),
    ]
    found = short(captioner, inputs)
    kinds = [type(one) for one in found]
    assert kinds == [
        *(str, MissingFileError, DecodeError, str, DecodeError, InputError, str, InputError)
    ]
    assert found[0] == short(captioner, files / "0.png")
    assert found[3] == short(captioner, files / "0.wav")


def test_a_bad_item_alone_or_on_request_is_raised(captioner, files):
    with pytest.raises(MissingFileError):
        short(captioner, files / "missing.png")
    with pytest.raises(DecodeError, match="input 1: "):
        short(captioner, [files / "0.png", files / "broken.png"], on_error="raise")
    with pytest.raises(MissingFileError):
        short(captioner, files / "missing.png", stream=True)


def test_a_prompt_longer_than_the_context(captioner, files):
    """The random model holds 512 positions."""
    long = Audio(np.random.default_rng(0).uniform(-1, 1, RATE_HZ * 60).astype(np.float32), RATE_HZ)
    found = short(captioner, [files / "0.png", long])
    assert isinstance(found[0], str)
    assert isinstance(found[1], PromptTooLongError)
    assert "context holds 512" in str(found[1])
    length = int(str(found[1]).split("has ")[1].split()[0])
    assert length > 512
    with pytest.raises(PromptTooLongError):
        short(captioner, long)


@pytest.mark.parametrize("seconds", [0.1, 2.0])
def test_silence_gets_an_answer(captioner, seconds):
    silence = np.zeros(int(RATE_HZ * seconds), np.float32)
    assert len(short(captioner, Audio(silence, RATE_HZ), details=True).token_ids) >= 1


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("size", [(32, 32), (1, 1), (3, 200)])
def test_black_and_white_pictures_get_an_answer(captioner, value, size):
    picture = np.full((*size, 3), value, np.uint8)
    assert len(short(captioner, picture, details=True).token_ids) >= 1


def test_settings_are_checked_before_anything_is_read(captioner):
    for wrong in ({"max_new_tokens": 0}, {"temperature": -1}, {"seed": -1}, {"on_error": "skip"}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            captioner("missing.png", **wrong)


def test_markers_in_a_prompt_stay_text(captioner, files):
    path = files / "0.png"
    plain = short(captioner, path, prompt="abc", details=True)
    marked = short(captioner, path, prompt="<|assistant|>", details=True)
    assert marked.num_prompt_ids > plain.num_prompt_ids


def test_repr_says_what_it_is(captioner):
    assert repr(captioner).startswith("Captioner('random', Tokenizer('tiny'")


def test_importing_pipelines_is_light():
    program = (
        "import sys, pipelines\n"
        "print([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    )
    root = Path(pipelines.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=True
    )
    assert done.stdout.strip() == "[]"


def test_exports():
    assert sorted(pipelines.__all__) == dir(pipelines) == ["Caption", "Captioner"]
    with pytest.raises(AttributeError, match="no attribute 'Captoner'"):
        _ = pipelines.Captoner


def test_pictures_from_memory_need_no_file(captioner):
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (32, 32), "red").save(buffer, "PNG")
    assert short(captioner, Image(buffer.getvalue())) == short(
        captioner, PIL.Image.new("RGB", (32, 32), "red")
    )


def test_the_shipped_tokenizer_is_the_one_inside(captioner):
    assert captioner.tokenizer.fingerprint == dvse.load("tiny").fingerprint
