"""The page's modules, run in a real browser, against soundfile, torchaudio and hand calculation."""

import base64
import io
import json

import numpy as np
import pytest
import soundfile
import torch
from torchaudio.transforms import MelSpectrogram


@pytest.fixture
def run(any_browser, static_page):
    """Run the body of an async function that imports the page's modules, return its result."""
    if not any_browser.current_url.startswith(static_page):
        any_browser.get(static_page)

    def call(body, *arguments):
        done = any_browser.execute_async_script(
            "const done = arguments[arguments.length - 1]; const given = [...arguments];"
            f"(async () => {{ {body} }})()"
            ".then((result) => done({ok: result}), (error) => done({error: String(error)}))",
            *arguments,
        )
        assert "error" not in done, done
        return done["ok"]

    return call


EVENTS = """
const { serverEvents } = await import("./page/server_events.js");
const bytes = new TextEncoder().encode(given[0]);
const size = given[1];
const body = new ReadableStream({ start(c) {
  for (let i = 0; i < bytes.length; i += size) c.enqueue(bytes.slice(i, i + size));
  c.close();
}});
const events = [];
for await (const data of serverEvents(body)) events.push(data);
return events;
"""


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_however_they_are_cut(run, size):
    text = (
        ': hello\n\ndata: {"a": "你好😀"}\n\ndata:two\r\ndata: lines\r\n\r\nid: 3\ndata: [DONE]\n\n'
    )
    assert run(EVENTS, text, size) == ['{"a": "你好😀"}', "two\nlines", "[DONE]"]


def test_an_event_that_the_end_cuts_off_is_still_given(run):
    assert run(EVENTS, "data: one\n\ndata: two", 4) == ["one", "two"]


def test_wav_is_what_soundfile_reads(run):
    samples = [0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -3.0, 1e-5]
    encoded = run(
        """
        const { encodeWav } = await import("./page/wav.js");
        return btoa(String.fromCharCode(...encodeWav(Float32Array.from(given[0]), given[1])));
        """,
        samples,
        44100,
    )
    data = base64.b64decode(encoded)
    assert len(data) == 44 + 2 * len(samples)
    read, rate = soundfile.read(io.BytesIO(data), dtype="int16")
    assert rate == 44100
    # 0.5 * 32767 = 16383.5, rounded up; what is louder than 1 is cut.
    assert read.tolist() == [0, 16384, -16383, 32767, -32767, 32767, -32767, 0]


def test_log_mel_is_torchaudios(run):
    rate = 16000
    times = np.arange(4096) / rate
    sound = 0.3 * np.sin(2 * np.pi * 700 * times) + 0.1 * np.sin(2 * np.pi * 3000 * times**2)
    sound += 0.01 * np.random.default_rng(0).standard_normal(len(times))
    columns = 15  # (4096 - 512) / 256 + 1: then frames are 256 samples apart
    ours = run(
        """
        const { logMel } = await import("./page/spectrogram.js");
        return [...logMel(Float32Array.from(given[0]), given[1], given[2]).levels];
        """,
        sound.tolist(),
        rate,
        columns,
    )
    mel = MelSpectrogram(sample_rate=rate, n_fft=512, hop_length=256, n_mels=64, center=False)
    theirs = torch.log10(mel(torch.from_numpy(sound).float()) + 1e-6).T
    assert theirs.shape == (columns, 64)
    # fp32 there, fp64 here: a level of 10^-3 and more agrees, below it the noise of fp32 shows.
    loud = theirs > -3
    assert loud.float().mean() > 0.9
    difference = (torch.tensor(ours).reshape(columns, 64) - theirs).abs()
    assert difference[loud].max() < 2e-3


def test_the_cells_of_a_picture(run):
    cells = run(
        """
        const { pictureCells } = await import("./page/cells.js");
        return pictureCells({ grid: [2, 3], codes: [7, 8, 9, 10, 11, 12] }, 1.6);
        """
    )
    places = [(round(6 * c["x"]), round(6 * c["y"])) for c in cells]
    assert places == [(0, 0), (2, 0), (4, 0), (0, 3), (2, 3), (4, 3)]
    assert {(round(6 * c["w"]), round(6 * c["h"])) for c in cells} == {(2, 3)}
    assert [c["code"] for c in cells] == [7, 8, 9, 10, 11, 12]
    assert cells[4]["label"] == "Row 2, column 2: code 11"


@pytest.mark.parametrize(
    ("aspect", "first"),
    [
        (1.0, (0, 0, 0.5, 0.5)),
        (1.6, (0, 0, 0.5, 0.5)),  # 2 × 2 is what 2.4 × 1.5 cells round to
        (2.0, (0.25, 0, 0.25, 0.5)),  # the centre half was cut out
        (0.5, (0, 0.25, 0.5, 0.25)),
    ],
)
def test_a_square_cut_from_the_centre(run, aspect, first):
    cells = run(
        """
        const { pictureCells } = await import("./page/cells.js");
        return pictureCells({ grid: [2, 2], codes: [1, 2, 3, 4] }, given[0]);
        """,
        aspect,
    )
    assert [cells[0][side] for side in "xywh"] == pytest.approx(first)
    assert cells[3]["x"] + cells[3]["w"] == pytest.approx(1 - first[0])


SOUND = """
const { soundCells } = await import("./page/cells.js");
return soundCells(given[0]);
"""


def test_the_cells_of_a_recording(run):
    item = {
        "codes": [5, 5, 5, 9, 5],
        "durations": None,
        "frame_rate_hz": 50,
        "duration_s": 0.2,  # twice as long as its five frames
    }
    cells = run(SOUND, item)
    assert [c["code"] for c in cells] == [5, 9, 5]
    assert [c["x"] for c in cells] == pytest.approx([0, 0.3, 0.4])
    assert [c["w"] for c in cells] == pytest.approx([0.3, 0.1, 0.1])
    assert cells[0]["label"] == "0.00 s: unit 5, 3 frames"
    assert cells[1]["label"] == "0.06 s: unit 9"


def test_merged_units_last_as_long_as_they_lasted(run):
    item = {"codes": [1, 2], "durations": [6, 4], "frame_rate_hz": 50, "duration_s": 0.2}
    cells = run(SOUND, item)
    assert [c["w"] for c in cells] == pytest.approx([0.6, 0.4])
    assert cells[0]["label"] == "0.00 s: unit 1, 6 frames"


KIND = """
const { readMedia, messagePart } = await import("./page/media.js");
const [name, type, text] = given;
const media = await readMedia(new File([text], name, { type }));
URL.revokeObjectURL(media.url);
return { kind: media.kind, part: messagePart(media) };
"""


@pytest.mark.parametrize(
    ("name", "type_", "part"),
    [
        ("a.png", "image/png", {"image_url": {"url": "data:image/png;base64,aGk="}}),
        ("a.JPG", "", {"image_url": {"url": "data:application/octet-stream;base64,aGk="}}),
        ("a.wav", "audio/x-wav", {"input_audio": {"data": "aGk=", "format": "wav"}}),
        ("a.mp3", "", {"input_audio": {"data": "aGk=", "format": "mp3"}}),
        ("a.oga", "audio/ogg", {"input_audio": {"data": "aGk=", "format": "ogg"}}),
        ("noname", "audio/mpeg", {"input_audio": {"data": "aGk=", "format": "mp3"}}),
        ("noname", "audio/flac", {"input_audio": {"data": "aGk=", "format": "flac"}}),
    ],
)
def test_what_is_sent_for_a_file(run, name, type_, part):
    sent = run(KIND, name, type_, "hi")
    key = "image_url" if sent["kind"] == "image" else "input_audio"
    assert sent["part"] == {"type": key, **part}


@pytest.mark.parametrize(
    ("name", "type_", "text", "words"),
    [
        ("a.pdf", "application/pdf", "hi", "neither a picture nor a recording"),
        ("a.png", "image/png", "", "is empty"),
        ("a.m4a", "audio/mp4", "hi", "Try WAV, MP3, FLAC or OGG"),
    ],
)
def test_files_that_are_not_taken(run, name, type_, text, words):
    said = run(
        f"try {{ {KIND} }} catch (error) {{ return [error.constructor.name, error.message]; }}",
        name,
        type_,
        text,
    )
    assert said[0] == "MediaError"
    assert words in said[1]


def test_the_colour_of_a_code_is_the_reports(run):
    from pipelines.reports.drawing import code_rgb

    codes = [0, 1, 17, 199, 1023]
    pixels = run(
        """
        const { codeColour } = await import("./page/code_view.js");
        const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
        return given[0].map((code) => {
          pen.fillStyle = codeColour(code, 1024);
          pen.fillRect(0, 0, 1, 1);
          return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3);
        });
        """,
        codes,
    )
    for code, colour in zip(codes, pixels, strict=True):
        assert np.abs(np.subtract(colour, code_rgb(code, 1024))).max() <= 1, json.dumps(
            [code, colour]
        )
