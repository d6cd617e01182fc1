"""A small random decoder, judged on a few files made here."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image

from pipelines import Captioner
from pipelines.evaluation.evaluation import evaluate
from pipelines.evaluation.settings import EvaluationSettings
from pipelines.reports.evaluation_report import write_evaluation

LAYOUT = {
    "image": {
        "path": "pictures.parquet",
        "label": "label",
        "caption": "a photo of {a_label}",
        "splits": {"validation": {"rows": [0, 4]}},
    },
    "audio": {"path": "clips.jsonl", "label": "text", "splits": {"all": {"where": {}}}},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    cells = []
    for _ in range(4):
        buffer = io.BytesIO()
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(buffer, "PNG")
        cells.append({"bytes": buffer.getvalue(), "path": None})
    labels = ["frog", "airplane", "frog", "ship"]
    pq.write_table(pa.table({"image": cells, "label": labels}), folder / "pictures.parquet")
    lines = []
    for n, word in enumerate(("one", "two", "broken")):
        soundfile.write(folder / f"{n}.wav", rng.uniform(-0.5, 0.5, 6000), 16000)
        lines.append(json.dumps({"audio_filepath": f"{n}.wav", "text": word}))
    (folder / "2.wav").write_bytes(b"RIFF")
    (folder / "clips.jsonl").write_text("\n".join(lines))
    (folder / "evaluation.json").write_text(json.dumps(LAYOUT))
    return folder


def test_every_figure_is_there(random_model, data, tmp_path):
    captioner = Captioner.load(random_model, threads=1)
    found = evaluate(
        captioner.tokenizer,
        data,
        thresholds={"captions.image.validation.accuracy": {"at_least": 0.5}},
        captioner=captioner,
        settings=EvaluationSettings(codes=False),
    )
    write_evaluation(captioner.tokenizer, found, tmp_path / "out")
    assert not found.verdicts[0].is_met  # a random decoder names nothing
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert not {"image", "audio", "text"} & set(metrics)
    pictures = metrics["captions"]["image"]["validation"]
    assert pictures["inputs"] == len(pictures["examples"]) == 4
    assert pictures["examples"][1]["reference"] == "a photo of an airplane"
    assert pictures["word_error_rate"] > 0.5
    recordings = metrics["captions"]["audio"]["all"]
    assert (recordings["inputs"], recordings["failed"]) == (2, 1)
    pairs = metrics["retrieval"]
    assert {"image_to_image_text", "image_text_to_image", "audio_to_audio_text"} <= set(pairs)
    assert not {"image_to_audio", "image_text_to_audio_text"} & set(pairs)
    assert all(0 <= pair["recall_at_1"] <= pair["recall_at_5"] <= 1 for pair in pairs.values())
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<h2>Captions</h2>" in page and "Finding each other" in page
    assert "a photo of an airplane" in page
