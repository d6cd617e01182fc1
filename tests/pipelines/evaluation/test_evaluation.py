"""The shipped bundle, judged on a few files made here."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

import dvse
from dvse.errors import ConfigError, TrainingError
from dvse.precision import check_precision
from dvse.storage.finding import SHIPPED
from pipelines.cli import main
from pipelines.evaluation.evaluation import evaluate
from pipelines.evaluation.settings import EvaluationSettings
from pipelines.reports.evaluation_report import render_report, write_evaluation

pytestmark = pytest.mark.skipif(
    not (SHIPPED / "tiny" / "dvse.json").is_file(), reason="the shipped bundle is not there"
)
LAYOUT = {
    "image": {
        "path": "pictures.parquet",
        "label": "label",
        "train": {"rows": [0, 8]},
        "splits": {"validation": {"rows": [8, 12]}},
    },
    "audio": {
        "path": "manifest.jsonl",
        "label": "text",
        "speaker": "speaker",
        "train": {"where": {"speaker": "a"}},
        "splits": {"unknown": {"where": {"speaker": "b|c"}}},
    },
    "text": {"path": "*.txt"},
}


@pytest.fixture(scope="module")
def tokenizer():
    return dvse.load("tiny", threads=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    from io import BytesIO

    from PIL import Image

    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    cells = []
    for number in range(12):
        pixels = rng.integers(0, 60, (32, 32, 3)) + (150 if number % 2 else 20)
        buffer = BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(buffer, format="PNG")
        label = "light" if number % 2 else "dark"
        cells.append({"image": {"bytes": buffer.getvalue(), "path": None}, "label": label})
    pq.write_table(pa.Table.from_pylist(cells), folder / "pictures.parquet")
    lines = []
    for speaker in "abc":
        for number in range(8):
            name = f"{speaker}{number}.wav"
            pitch = 200 + 900 * (number % 2) + 20 * ord(speaker) % 70
            times = np.arange(6000) / 8000
            sound = 0.3 * np.sin(2 * np.pi * pitch * times) + 0.01 * rng.standard_normal(6000)
            soundfile.write(folder / name, sound, 8000)
            word = "high" if number % 2 else "low"
            lines.append(json.dumps({"audio_filepath": name, "text": word, "speaker": speaker}))
    (folder / "manifest.jsonl").write_text("\n".join(lines))
    (folder / "a.txt").write_text("Good morning.\n早上好。\n", encoding="utf-8")
    (folder / "evaluation.json").write_text(json.dumps(LAYOUT))
    return folder


def test_figures_page_and_verdicts(tokenizer, data, tmp_path):
    thresholds = {"image.psnr_db": {"at_least": 5}, "audio.usage.0.share_used": {"at_least": 0.99}}
    found = evaluate(tokenizer, data, thresholds=thresholds)
    write_evaluation(tokenizer, found, tmp_path / "out")
    assert [verdict.is_met for verdict in found.verdicts] == [True, False]

    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["image"]["pictures"] == 4
    assert metrics["audio"]["splits"]["unknown"]["abx_across_speakers"] is True
    runs, bitrate = metrics["audio"]["runs"], metrics["audio"]["bitrate"]
    assert runs["codes_per_id"] > 1 and runs["round_trip_failures"] == 0
    assert runs["of"].startswith("this report")  # the bundle has none
    assert runs["ids_per_s"] * runs["codes_per_id"] == pytest.approx(
        bitrate["units_per_s"], rel=0.01
    )
    assert metrics["audio"]["splits"]["unknown"]["changed"]["gain_0_5_db"] <= 1
    assert set(metrics["image"]["probes"]["sequence"]["codes"]) == {"validation"}
    assert metrics["text"]["round_trip_failures"] == 0
    assert "not comparable" in metrics["published"]["note"]
    psnr = metrics["published"]["figures"]["image.psnr_db"]
    assert psnr["here"] == metrics["image"]["psnr_db"]
    assert {"value": 28.9, "system": "Emu3"} in psnr["reached"]
    split, floor = (metrics["audio"][k]["unknown"] for k in ("splits", "log_mel"))
    assert split["label_purity_ratio"] == pytest.approx(
        split["label_purity"] / floor["label_purity"], abs=1e-4
    )
    probes = metrics["audio"]["probes"]["sequence"]
    assert probes["lost"]["unknown"] == pytest.approx(
        probes["features"]["unknown"] - probes["codes"]["unknown"], abs=1e-4
    )
    words = metrics["audio"]["words"]
    if "not_measured" not in words:
        assert (words["words"], len(words["voices"])) == (50, 4)
        assert words["abx_across_speakers"] and 0 < words["abx_error"] < 0.5
        over = words["abx_error"] - words["log_mel_abx_error"]
        assert words["abx_error_over_log_mel"] == pytest.approx(over, abs=1e-4)

    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for asset in ("http://", "https://", "<link", 'src="/'):
        assert asset not in page
    assert "misses 1 of 2 thresholds" in page
    assert "published: 21.2 to 28.9, of other data" in page
    assert page.count("data:audio/wav") > 10
    assert page.count("data:image/png") > 10


def test_rebuilt_pictures_are_judged_with_weights_by_path(data, tmp_path, capsys):
    from judge_weights import write_lpips

    files = ",".join(map(str, write_lpips(tmp_path)))
    command = ["evaluate", "tiny", "--data", str(data), "--only", "codes", "--no-probes"]
    gate = tmp_path / "gate.json"
    gate.write_text('{"image.lpips": {"at_most": 0}}')
    layout = tmp_path / "layout.json"
    layout.write_text(json.dumps({"image": LAYOUT["image"]}))
    more = ["--layout", str(layout), "--gate", str(gate), "--output", str(tmp_path / "o")]
    assert main([*command, *more, "--lpips", files]) == 3
    figures = json.loads((tmp_path / "o" / "metrics.json").read_text())
    assert figures["image"]["lpips"] > 0 and set(figures["image"]["not_measured"]) == {"rfid"}
    assert figures["settings"]["lpips"] == ["alexnet.pth", "alex.pth"]
    assert "LPIPS (alex)" in (tmp_path / "o" / "report.html").read_text()
    assert main([*command, *more[:4], "--output", str(tmp_path / "p"), "--rfid", "no.pth"]) == 1
    assert "no.pth: expected a file of weights, there is none" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


def test_what_cannot_be_judged(tokenizer, data, tmp_path):
    layout = tmp_path / "layout.json"
    settings = EvaluationSettings(probe=False)

    def judge_with(changes):
        layout.write_text(json.dumps(changes))
        evaluate(tokenizer, data, thresholds={}, layout=layout, settings=settings)

    image = LAYOUT["image"]
    with pytest.raises(TrainingError, match="holds no rows"):
        judge_with({"image": {**image, "train": {"rows": [90, 99]}}})
    with pytest.raises(TrainingError, match="expected labelled rows"):
        judge_with({"image": {**image, "label": "species"}})
    with pytest.raises(TrainingError, match="expected a description with train"):
        judge_with({"image": {**image, "splits": {}}})
    assert not (tmp_path / "out").exists()


def test_fewer_bits_are_held_against_float32(data, tmp_path, capsys):
    try:
        check_precision("bfloat16", "cpu")
    except ConfigError as error:
        pytest.skip(str(error))
    words = ["evaluate", "tiny", "--data", str(data), "--output", str(tmp_path), "--only", "codes"]
    words += ["--no-probes", "--precision", "bfloat16", "--batch-tokens", "512"]
    assert main(words) in (0, 3)
    text = capsys.readouterr().out
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["numerics"]["precision"] == "bfloat16"
    assert metrics["numerics"]["batch_tokens"] == 512
    for modality, split in (("image", "validation"), ("audio", "unknown")):
        found = metrics["precision"][modality][split]
        assert 0.5 < found["codes_kept"] <= 1 and found["codes"] > 100
        share = f"{100 * found['codes_kept']:.2f} % of {found['codes']:,} codes stay"
        assert f"bfloat16 against float32: {modality}, {split}: {share}" in text
    here, exact = (metrics["precision"]["audio"]["unknown"][k] for k in ("here", "float32"))
    assert here["frames"] == exact["frames"] > 0


def test_phones_and_items_of_a_split_stand_in_figures_and_page(tokenizer, data, tmp_path):
    rows, header = [], "#file onset offset #phone prev-phone next-phone speaker"
    for speaker in "bc":
        for number in range(8):
            phones = "AH K" if number % 2 else "IH K"
            rows.append(
                f"{speaker}{number} " + " ".join(p for p in phones.split() for _ in range(37))
            )
    (data / "ali.txt").write_text("\n".join(rows))
    items = [
        f"{speaker}{number} 0.1 0.3 {'AH' if number % 2 else 'IH'} B T {speaker}"
        for speaker in "bc"
        for number in range(8)
    ]
    (data / "all.item").write_text("\n".join([header, *items, "x9 0.1 0.3 AH B T x"]))
    layout = tmp_path / "layout.json"
    audio = LAYOUT["audio"] | {"phones": {"path": "ali.txt"}, "items": "all.item"}
    layout.write_text(json.dumps({"audio": audio}))
    settings = EvaluationSettings(probe=False)
    found = evaluate(tokenizer, data, thresholds={}, layout=layout, settings=settings)
    split = found.metrics["audio"]["splits"]["unknown"]
    assert set(split["phones"]["per_phone"]) == {"AH", "IH", "K"}
    assert 0 < split["phones"]["pnmi"] <= 1 and split["phones"]["not_aligned"] == 0
    assert (split["item_abx"]["items"], split["item_abx"]["items_elsewhere"]) == (16, 1)
    for way in ("within", "across"):
        assert 0 <= split["item_abx"][way]["units"] < 0.5
        assert 0 <= split["item_abx"][way]["features"] < 0.5
    assert "pnmi" not in split and 0 <= split["file_label_nmi"] <= 1
    (data / "ali.txt").write_text("84-1 AH AH N\n")
    with pytest.raises(TrainingError, match="alignments of the recordings, such as 'b0', received"):
        evaluate(tokenizer, data, thresholds={}, layout=layout, settings=settings)
    page = render_report(tokenizer, found)
    assert "phone purity" in page and "ABX, across speakers, units" in page
    assert "HuBERT-base, layer 6" in page and "not comparable" in page
    assert "each phone" in page
    # Beside the bar itself, and in full in the table.
    assert page.count("published: 61.4 % to 66.5 %, of other data") == 2  # PNMI, NMI of files
    assert "not of phones of frames" in page
