"""Times of words of a real recording: digits cut out of the samples and joined where we say."""

import io

import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient

from dvse.storage.finding import SHIPPED
from pipelines.server.app import create_app
from pipelines.server.loading import load_served
from pipelines.server.settings import BatchingLimits, LoadingConfig, ServerSettings
from pipelines.tiny.samples.sounds import SAMPLE_RATE_HZ, SOUNDS

_RATE = 8000
# Where the words of the sample are loud (read off its energy by hand), seconds.
_WORDS = {"three": (0.28, 0.62), "one": (0.82, 1.30), "four": (1.52, 2.02)}


@pytest.fixture(scope="module")
def tiny():
    limits = BatchingLimits(max_concurrency=2, cache_gib=0.01)
    model = load_served(LoadingConfig(limits=limits))
    app = create_app(model, ServerSettings(served_names=("m",)))
    with TestClient(app, raise_server_exceptions=False) as client:
        while client.get("/ready").status_code != 200:
            pass
        yield client


def joined(words, pauses_s):
    """A WAV that says words after pauses, and when each begins and ends."""
    samples, _ = soundfile.read(SHIPPED / "tiny/samples/three-one-four.flac", dtype="float32")
    rng = np.random.default_rng(0)
    pieces, times = [], []
    for word, pause_s in zip(words, pauses_s, strict=True):
        pieces.append(rng.standard_normal(int(pause_s * _RATE)).astype(np.float32) * 3e-4)
        start, stop = (int(second * _RATE) for second in _WORDS[word])
        begin = sum(map(len, pieces))
        pieces.append(samples[start:stop])
        times.append((begin / _RATE, (begin + stop - start) / _RATE))
    pieces.append(np.zeros(_RATE // 4, np.float32))
    file = io.BytesIO()
    soundfile.write(file, np.concatenate(pieces), _RATE, format="WAV")
    return file.getvalue(), times


def ask(client, sound, *times, **data):
    fields = {"model": "m", "response_format": "verbose_json", **data}
    if times:
        fields["timestamp_granularities[]"] = list(times)
    found = client.post("/v1/audio/transcriptions", files={"file": ("a.wav", sound)}, data=fields)
    assert found.status_code == 200, found.text
    return found


@pytest.mark.parametrize(
    ("words", "pauses_s"),
    [
        (("three", "one", "four"), (0.2, 0.2, 0.2)),
        (("one", "four", "three"), (0.3, 0.15, 0.5)),
        (("one", "four", "three"), (0.6, 0.15, 0.5)),
        (("four", "one"), (0.3, 0.4)),
    ],
)
def test_words_are_timed_within_a_tenth_of_a_second(tiny, words, pauses_s):
    sound, times = joined(words, pauses_s)
    found = ask(tiny, sound, "word").json()
    assert found["segments"] is None
    assert [entry["word"] for entry in found["words"]] == list(words)
    for entry, (start, end) in zip(found["words"], times, strict=True):
        assert entry["start"] == pytest.approx(start, abs=0.1)
        assert entry["end"] == pytest.approx(end, abs=0.1)


def test_subtitles_have_the_times_of_the_words(tiny):
    sound, _ = joined(("three", "one", "four"), (0.3, 0.1, 0.1))
    both = ask(tiny, sound, "word", "segment").json()
    (segment,) = both["segments"]
    assert segment["text"] == "three one four" == both["text"]
    assert segment["start"] == both["words"][0]["start"] > 0.2
    assert segment["end"] == both["words"][-1]["end"] < both["duration"]
    assert "words" not in {k for k, v in ask(tiny, sound).json().items() if v is not None}
    clock = f"00:00:00,{round(segment['start'] * 1000):03} --> 00:00:0"
    assert ask(tiny, sound, response_format="srt").text.split("\n")[1].startswith(clock)


def test_a_refusal_has_no_words(tiny):
    file = io.BytesIO()
    soundfile.write(file, SOUNDS["tones.flac"]() * 0.3, SAMPLE_RATE_HZ, format="WAV")
    found = ask(tiny, file.getvalue(), "word", "segment").json()
    refusals = tiny.app.state.shelf.loaded[0].model.introduction.refusals
    assert found["text"] in refusals and found["words"] == []
    (segment,) = found["segments"]
    assert (segment["start"], segment["text"]) == (0.0, found["text"])
    assert segment["end"] == pytest.approx(found["duration"], abs=0.03)
