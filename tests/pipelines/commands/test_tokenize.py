"""`dvse tokenize`, `verify` and `inspect` as users type them, with `tiny`, and their exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from dvse.storage.shard import read_shard
from pipelines.cli import main

STAMPS = Path("/usr/share/tuxpaint/stamps")


@pytest.fixture
def media(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(folder / "a.png")
    (folder / "b.txt").write_text("hello")
    (folder / "c.svg").write_text("<svg/>")
    return folder


def tokenize(*args, workers=0):
    return main(["tokenize", *map(str, args), "--workers", str(workers), "--threads", "1"])


def test_a_small_job_prints_its_rows_and_errors(media, tmp_path, capsys):
    assert tokenize(media, "--output", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "a.png" in printed
    assert "SVG pictures are drawings" in printed
    assert "3 inputs in 1 shards" in printed


def test_processes_give_the_bytes_of_one_process(media, tmp_path):
    assert tokenize(media, "--output", tmp_path / "one") == 0
    assert tokenize(media, "--output", tmp_path / "more", workers=2) == 0
    name = "shard-000000.parquet"
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "more" / name).read_bytes()


def test_parts_are_the_job_and_verify_names_what_is_missing(media, tmp_path, capsys, monkeypatch):
    whole, out = tmp_path / "whole", tmp_path / "out"
    tokenize(media, "--output", whole, "--shard-size", 1)
    assert tokenize(media, "--output", out, "--shard-size", 1, "--part", "2/2") == 0
    assert "1 shards are not made yet" in capsys.readouterr().out
    assert main(["verify", str(out)]) == 1
    assert "part 1/2 is not finished (it never began): shards 0;" in capsys.readouterr().err
    # The place of a task of a Slurm array.
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
    assert tokenize(media, "--output", out, "--shard-size", 1, "--part", "auto") == 0
    for path in (*sorted(whole.glob("*.parquet")), whole / "errors.jsonl"):
        assert (out / path.name).read_bytes() == path.read_bytes()
    assert main(["verify", str(out)]) == 0
    assert tokenize(media, "--output", out, "--part", "3/2") == 2


def test_exit_codes(media, tmp_path, capsys):
    out = tmp_path / "out"
    assert tokenize(tmp_path / "gone.png", "--output", tmp_path / "none") == 3
    assert "not one of 1 inputs gave a row" in capsys.readouterr().err
    assert tokenize(media, "--output", out, "--max-error-rate", "0.1") == 3
    assert "more than --max-error-rate 0.1 allows" in capsys.readouterr().err
    assert tokenize(media, "--output", out) == 0
    assert tokenize(media / "a.png", "--output", out) == 4
    assert "removed: " in capsys.readouterr().err
    assert tokenize(media, "--output", out, "--shard-size", "0") == 2
    assert "--shard-size: expected at least 1" in capsys.readouterr().err
    assert tokenize(media, "--output", tmp_path / "x", "--bundle", "no such") == 1
    assert "no bundle 'no such'" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["tokenize"])
    assert stopped.value.code == 2


def test_dry_run_writes_nothing(media, tmp_path, capsys):
    assert tokenize(media, "--output", tmp_path / "out", "--dry-run") == 0
    printed = capsys.readouterr().out
    assert "3 inputs" in printed
    assert "nothing was written" in printed
    assert not (tmp_path / "out").exists()


def test_verify_and_inspect(media, tmp_path, capsys):
    out = tmp_path / "out"
    tokenize(media, "--output", out)
    capsys.readouterr()
    assert main(["verify", str(out)]) == 0
    assert "all well" in capsys.readouterr().out
    assert main(["inspect", str(out), "--rows", "1"]) == 0
    shown = capsys.readouterr().out
    assert "1 shards" in shown
    assert "a.png: image" in shown
    assert main(["inspect", str(out), "--id", "b.txt"]) == 0
    assert "b.txt: text" in capsys.readouterr().out
    assert main(["inspect", str(media / "b.txt")]) == 0
    assert "text" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "gone")]) == 1
    data = bytearray((out / "shard-000000.parquet").read_bytes())
    data[100] ^= 1
    (out / "shard-000000.parquet").write_bytes(data)
    assert main(["verify", str(out)]) == 1
    assert "shard-000000.parquet: corrupt" in capsys.readouterr().err


def test_the_page_shows_each_input_beside_its_tokens(media, tmp_path):
    soundfile.write(media / "d.wav", np.sin(np.arange(4000) / 9), 8000)
    out, page = tmp_path / "out", tmp_path / "report.html"
    tokenize(media, "--output", out)
    assert main(["inspect", str(out), "--html", str(page)]) == 0
    html = page.read_text(encoding="utf-8")
    assert all(name in html for name in ("a.png", "b.txt", "d.wav"))
    for shown in ("what the encoder saw", "rebuilt from tokens", "log-mel spectrogram", "unit "):
        assert shown in html
    for modality in ("image", "audio"):
        assert f"How often each {modality} code is used" in html
    assert html.count("data:image/png;base64,") >= 4
    assert 'src="http' not in html


def test_a_stream_is_cut_into_the_same_shards_and_resumed(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    lines = "".join(json.dumps({"text": f"line {n}"}) + "\n" for n in range(25))
    (tmp_path / "t.jsonl").write_text(lines)
    address = f"hf:json?data_files={tmp_path}/t.jsonl&streaming=true"
    out = tmp_path / "out"
    assert tokenize(address, "--output", out, "--shard-size", "10") == 0
    shards = sorted(out.glob("*.parquet"))
    before = {p.name: p.read_bytes() for p in shards}
    assert [read_shard(p).num_rows for p in shards] == [10, 10, 5]
    for victim in shards[1:]:
        victim.unlink()
    assert tokenize(address, "--output", out, "--shard-size", "10") == 0
    assert {p.name: p.read_bytes() for p in sorted(out.glob("*.parquet"))} == before


@pytest.mark.skipif(not STAMPS.is_dir(), reason="tuxpaint-stamps-default is not installed")
def test_real_stamps(tmp_path):
    """Pictures, captions in many languages, OGG recordings; SVG refused by name."""
    inputs = (STAMPS / "animals" / "amphibians", STAMPS / "clothes" / "bowtie*")
    assert tokenize(*inputs, "--output", tmp_path / "out") == 0
    rows = [
        r for p in sorted((tmp_path / "out").glob("*.parquet")) for r in read_shard(p).to_pylist()
    ]
    lines = (tmp_path / "out" / "errors.jsonl").read_text(encoding="utf-8").splitlines()
    errors = [json.loads(line) for line in lines]
    found = [*inputs[0].rglob("*.*"), *inputs[1].parent.glob("bowtie*")]
    assert len(rows) + len(errors) == len(found)
    svg = [e for e in errors if e["id"].endswith(".svg")]
    assert svg
    assert all("SVG pictures are drawings" in e["reason"] for e in svg)
    captioned = [r for r in rows if r["modality"] == "image" and r["text"]]
    assert captioned
    assert any("fr.utf8=" in r["text"] for r in captioned)
    assert main(["verify", str(tmp_path / "out"), "--samples", "8"]) == 0


@pytest.mark.parametrize(
    "options",
    [
        ["--workers", "-1"],
        ["--threads", "0"],
        ["--time-limit", "0"],
        ["--time-limit", "nan"],
        ["--time-limit", "inf"],
        ["--shard-size", "0"],
        ["--max-error-rate", "2"],
        ["--max-error-rate", "nan"],
        ["--device", "gpu7"],
        ["--device", ""],
        ["--device", "cpu,cuda:0"],
        ["--batch-size", "0"],
        ["--template", "{"],
        ["--append"],
        ["--redo-changed"],
        ["--retry-errors"],
        ["--dry-run", "--workers", "-1"],
        ["--no-such-option"],
    ],
    ids=" ".join,
)
def test_bad_values_of_options_end_with_2_before_anything_is_touched(media, tmp_path, options):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "shard-000000.parquet").write_bytes(b"precious")
    try:
        code = main(
            ["tokenize", str(media), "--output", str(tmp_path / "out"), "--overwrite", *options]
        )
    except SystemExit as exit:  # argparse's own
        code = exit.code
    assert code == 2
    assert (tmp_path / "out" / "shard-000000.parquet").read_bytes() == b"precious"


def test_the_first_line_is_there_before_anything_heavy_is_loaded(media, tmp_path):
    """What takes seconds to import comes after it; a second was promised for it."""
    code = (
        "import sys\n"
        "from pipelines.cli import main\n"
        "class Told:\n"
        "    def note(self, text):\n"
        "        heavy = {'torch', 'transformers', 'pyarrow', 'datasets'} & sys.modules.keys()\n"
        "        print(text, sorted(heavy)); sys.exit()\n"
        "import pipelines.job.progress as progress\n"
        "progress.make_progress = lambda is_quiet: Told()\n"
        f"main(['tokenize', {str(media)!r}, '--output', {str(tmp_path / 'out')!r}])\n"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert printed.stdout == "dvse tokenize: finding the inputs []\n"
