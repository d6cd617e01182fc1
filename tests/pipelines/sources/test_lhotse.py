"""Lines of lhotse: its own `load_audio()` is the judge of every sample, and of the ids."""

import json
import re
import sys

import numpy as np
import pytest
import soundfile

import dvse
from dvse.audio.decoding import opened_channels
from dvse.errors import DecodeError, InputError
from dvse.numerics import use_threads
from pipelines.sources.listing import Lister
from pipelines.sources.loading import load
from pipelines.sources.registry import SourceOptions, make_source

lhotse = pytest.importorskip("lhotse")
RATE = 8000
SOUND = np.random.default_rng(0).uniform(-0.5, 0.5, (4 * RATE, 2)).astype(np.float32)
NOISE = np.random.default_rng(1).uniform(-0.1, 0.1, RATE).astype(np.float32)


@pytest.fixture(autouse=True)
def one_thread():
    """The last bit of a resampled value depends on their number, on some machines."""
    with use_threads(1):
        yield


@pytest.fixture
def folder(tmp_path):
    soundfile.write(tmp_path / "a.wav", SOUND, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "noise.flac", NOISE, RATE)
    soundfile.write(tmp_path / "left.wav", SOUND[:, 0], RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "right.wav", SOUND[:, 1], RATE, subtype="FLOAT")
    return tmp_path


def records(path):
    options = SourceOptions()
    return [
        record
        for entry in Lister(options).entries([str(path)])
        for record in make_source(entry.kind, options).records(entry)
    ]


def item(record):
    assert record.failure is None, record.failure
    return load(record)[1][0]


def samples(record):
    with opened_channels(item(record)) as recording:
        return recording.sample_rate_hz, np.concatenate(list(recording.blocks)).T


def supervised(cut, text):
    cut.supervisions = [
        lhotse.SupervisionSegment(f"{cut.id}-s", cut.recording_id, 0, cut.duration, text=text)
    ]
    return cut


def cuts_of(folder):
    recording = lhotse.Recording.from_file(folder / "a.wav")
    noise = lhotse.Recording.from_file(folder / "noise.flac").to_cut()
    mono = lhotse.MonoCut("c", start=1.0, duration=0.5, channel=1, recording=recording)
    other = lhotse.MonoCut("o", start=2.0, duration=0.75, channel=0, recording=recording)
    both = lhotse.MultiCut("b", start=0.5, duration=1.25, channel=[0, 1], recording=recording)
    split = lhotse.Recording(
        id="split",
        sources=[
            lhotse.AudioSource("file", [0], str(folder / "left.wav")),
            lhotse.AudioSource("file", [1], str(folder / "right.wav")),
        ],
        sampling_rate=RATE,
        num_samples=len(SOUND),
        duration=4.0,
    )
    mixed = mono.mix(noise, offset_other_by=0.2, snr=10)
    return {
        "mono": mono,
        "both": both,
        "truncate": mono.truncate(offset=0.1, duration=0.25),
        "speed": mono.perturb_speed(1.1),
        "slow and loud": mono.perturb_speed(0.9).perturb_volume(1.5),
        "volume": mono.perturb_volume(0.25),
        "resample": both.resample(16000),
        "resample, then speed": mono.resample(11025).perturb_speed(1.1),
        "mix": mixed,
        "mix of many channels": both.mix(noise, offset_other_by=0.1, snr=3),
        "mix, truncated": mixed.truncate(offset=0.1, duration=0.6),
        "pad": mono.pad(duration=2),
        "pad before": mono.pad(duration=1, direction="left"),
        "pad in front of many": both.pad(duration=2, direction="both"),
        "append": mono.append(other),
        "append, faster": mono.append(other).perturb_speed(1.1),
        "append, louder": mono.append(other).perturb_volume(2.0),
        "reverberated": mono.reverb_rir(noise.recording),
        "clipped": mono.clip_amplitude(hard=True, gain_db=6.0, normalize=True),
        "two files": split.to_cut(),
        "one of two files": lhotse.MonoCut("s", 0.5, 1.0, channel=1, recording=split),
    }


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz"])
def test_every_cut_gives_the_samples_that_lhotse_gives(folder, ending):
    cuts = cuts_of(folder)
    path = folder / f"cuts.{ending}"
    named = [lhotse.utils.fastcopy(c, id=f"{i}") for i, c in enumerate(cuts.values())]
    lhotse.CutSet.from_cuts(named).to_file(path)
    found = records(path)
    assert [r.id for r in found] == [c.id for c in named]
    for name, cut, record in zip(cuts, cuts.values(), found, strict=True):
        rate, mine = samples(record)
        assert rate == cut.sampling_rate, name
        assert np.array_equal(mine, cut.load_audio()), name


def test_ids_are_those_of_the_samples(folder):
    tokenizer = dvse.load("tiny", threads=1)
    cuts = {k: v for k, v in cuts_of(folder).items() if k in ("speed", "mix", "resample", "pad")}
    lhotse.CutSet.from_cuts(cuts.values()).to_file(folder / "cuts.jsonl")
    for cut, record in zip(cuts.values(), records(folder / "cuts.jsonl"), strict=True):
        judged = dvse.Audio(cut.load_audio().T, cut.sampling_rate)
        assert tokenizer.encode(item(record)).ids.tolist() == tokenizer.encode(judged).ids.tolist()


def test_recordings_alone_texts_and_hashes(folder):
    recording = lhotse.Recording.from_file(folder / "a.wav")
    split = cuts_of(folder)["two files"].recording
    faster = recording.perturb_speed(1.1)
    lhotse.RecordingSet.from_recordings([recording, faster, split]).to_file(folder / "r.jsonl")
    for judged, record in zip((recording, faster, split), records(folder / "r.jsonl"), strict=True):
        assert np.array_equal(samples(record)[1], judged.load_audio())
    cuts = cuts_of(folder)
    first, second = supervised(cuts["mono"], "one"), supervised(cuts["volume"], "two")
    mixed = first.append(second)
    lhotse.CutSet.from_cuts([first, second, mixed]).to_file(folder / "t.jsonl")
    found = records(folder / "t.jsonl")
    assert [r.text for r in found] == ["one", "two", "one two"]
    hashes = [load(r)[0].sha256 for r in found]
    assert len(set(hashes)) == 3
    assert [load(r)[0].sha256 for r in found] == hashes
    assert found[2].refs[0].place.files == (str(folder / "a.wav"),)


def line(folder, change):
    cut = cuts_of(folder)["volume"].to_dict()
    change(cut)
    (folder / "m.jsonl").write_text(json.dumps(cut))
    (record,) = records(folder / "m.jsonl")
    return record


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c["recording"]["sources"][0].update(type="command"), r"received \['command'\]"),
        (lambda c: c["recording"]["sources"][0].update(type="memory"), r"received \['memory'\]"),
        (lambda c: c.update(emphasis=2), r"the fields \['emphasis'\] of a MonoCut are none"),
        (lambda c: c["recording"].update(gain=2), r"the fields \['gain'\] of a recording"),
        (lambda c: c.update(type="FancyCut"), "received the type 'FancyCut'"),
    ],
)
def test_what_is_not_known_of_a_cut_refuses_it_by_name(folder, change, reason):
    assert re.search(reason, line(folder, change).failure.reason)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c["recording"]["transforms"][0].update(name="Loudest"), "Loudest"),
        (lambda c: c["recording"]["transforms"][0]["kwargs"].update(a=1), "lhotse cannot load"),
        (lambda c: c["recording"].update(sampling_rate=16000), "8000 Hz, the manifest says 16000"),
        (lambda c: c.update(start=3.9, duration=2.0), "lhotse cannot load"),
        (lambda c: c.update(duration=1e9), "MiB"),
    ],
)
def test_what_lhotse_refuses_is_an_error_of_the_line(folder, change, reason):
    with pytest.raises(InputError, match=reason) as caught:
        load(line(folder, change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seeds", [{}, {"room_seed": 1, "source_seed": 2}])
def test_a_random_room_is_refused_and_a_truncated_file_noticed(folder, seeds):
    generator = {"sr": RATE, **seeds}  # with seeds, too, lhotse gives other samples each time
    room = {"name": "ReverbWithImpulseResponse", "kwargs": {"rir_generator": generator}}
    record = line(folder, lambda c: c["recording"]["transforms"].append(room))
    assert "another room each time" in record.failure.reason
    cut = line_with_a_cut_short(folder)
    with pytest.raises(DecodeError, match=r"a\.wav: truncated"):
        load(cut)


def line_with_a_cut_short(folder):
    record = line(folder, lambda cut: None)
    (folder / "a.wav").write_bytes((folder / "a.wav").read_bytes()[:90_000])
    return record


def line_of(folder):
    (record,) = records(folder / "m.jsonl")
    return record


def test_tempo_fails_where_lhotse_fails(folder):
    """torchaudio has no effects of sox any more, so lhotse has no tempo."""
    cut = cuts_of(folder)["mono"].perturb_tempo(1.1)
    lhotse.CutSet.from_cuts([cut]).to_file(folder / "m.jsonl")
    try:
        judged = cut.load_audio()
    except Exception:
        with pytest.raises(DecodeError, match="lhotse cannot load this cut"):
            load(line_of(folder))
    else:
        assert np.array_equal(samples(line_of(folder))[1], judged)


def test_without_lhotse_the_error_names_the_extra(folder, monkeypatch):
    record = line(folder, lambda cut: None)
    monkeypatch.delitem(sys.modules, "pipelines.sources.lhotse_reading", raising=False)
    monkeypatch.setitem(sys.modules, "lhotse", None)
    with pytest.raises(DecodeError, match=r"pip install 'dvse\[lhotse\]'"):
        load(record)


def test_a_relative_path_counts_from_the_manifest_or_from_here(folder, monkeypatch):
    (folder / "lists").mkdir()
    monkeypatch.chdir(folder)
    lhotse.CutSet.from_cuts([lhotse.Recording.from_file("a.wav").to_cut()]).to_file("lists/m.jsonl")
    (record,) = records(folder / "lists" / "m.jsonl")
    assert np.array_equal(samples(record)[1], SOUND.T)
