"""`import dvse` is light, exports what is promised, and lives beside a user's own modules."""

import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import dvse

REPOSITORY = Path(dvse.__file__).parents[1]
HEAVY = ("torch", "transformers", "numpy", "timm", "torchaudio", "sentencepiece", "pyarrow", "PIL")
# An import takes about a tenth of this on an idle machine; tests share theirs with others.
LIMIT_S = 0.5


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        check=False,
    )


def processor_seconds(program: str) -> float:
    """Median processor time of a program: unlike wall time it does not count other processes."""
    probe = (
        "import resource, sys\n"
        f"{program}\n"
        "usage = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print('seconds', usage.ru_utime + usage.ru_stime)\n"
    )
    times = []
    for _ in range(3):
        done = run("-c", probe)
        assert done.returncode == 0, done.stderr
        times.append(float(done.stdout.split("seconds")[-1]))
    return statistics.median(times)


def test_exports_are_the_promised_ones():
    assert sorted(dvse.__all__) == [
        "Audio",
        "DvseProcessor",
        "Encoding",
        "Grammar",
        "Image",
        "Mixture",
        "MixturePart",
        "NumericsProfile",
        "Text",
        "TokenBatch",
        "TokenDataset",
        "Tokenizer",
        "Vocabulary",
        "__version__",
        "errors",
        "load",
    ]
    assert dir(dvse) == dvse.__all__
    for name in dvse.__all__:
        assert getattr(dvse, name) is not None


def test_other_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'Video'"):
        _ = dvse.Video
    assert not hasattr(dvse, "tokenise")


def test_importing_dvse_is_fast_and_light():
    done = run("-c", f"import sys, dvse; print([m for m in {HEAVY} if m in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr
    assert processor_seconds("import dvse") < LIMIT_S


def test_items_and_vocabulary_need_no_torch():
    program = (
        "import sys, dvse\n"
        "dvse.Text('a'), dvse.Image('a'), dvse.Audio('a'), dvse.errors.InputError\n"
        "dvse.Vocabulary.create(text_size=5), dvse.Grammar, dvse.Encoding\n"
        "import dvse.storage.bundle, dvse.chat, dvse.chunk, dvse.preparers\n"
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    assert run("-c", program).stdout.split() == ["False", "False"]


def test_a_recording_needs_none_of_pillows_formats():
    program = (
        "import sys, numpy, dvse\n"
        "tokenizer = dvse.load('tiny')\n"
        "tokenizer.encode(dvse.Audio(numpy.zeros(8000, 'float32'), sample_rate_hz=8000))\n"
        "print('dvse.image.decoding' in sys.modules, 'PIL.PngImagePlugin' in sys.modules)\n"
        "tokenizer.encode(dvse.Image(numpy.zeros((32, 32, 3), 'uint8')))\n"
        "print('PIL.PngImagePlugin' in sys.modules)"
    )
    done = run("-c", program)
    assert done.stdout.split() == ["False", "False", "True"], done.stderr


def test_help_is_as_fast():
    program = "from pipelines.cli import main\nassert main(['--help']) == 0"
    assert processor_seconds(program) < LIMIT_S
    done = run("-m", "pipelines.cli", "--help")
    assert done.returncode == 0
    assert "dvse tokenize" in done.stdout


@pytest.fixture
def users_folder(tmp_path) -> Path:
    """A folder with files that are named like our packages and must not be imported."""
    (tmp_path / "model.py").write_text("raise SystemExit('the wrong model')\n")
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "__init__.py").write_text("raise SystemExit('the wrong pipelines')\n")
    return tmp_path


def test_the_api_works_beside_a_users_own_model_and_pipelines(users_folder, text_bundle):
    """In passing: transformers imported before dvse; the other order is every other test's."""
    program = (
        "from transformers import AutoProcessor\n"
        "import dvse\n"
        f"tokenizer = dvse.load({str(text_bundle)!r}, threads=1)\n"
        "batch = tokenizer([dvse.Text('hello')])\n"
        "print(tokenizer.decode(batch.input_ids[0])[0].text)\n"
        f"processor = AutoProcessor.from_pretrained({str(text_bundle)!r})\n"
        "print(processor.batch_decode(processor(text=['again'])['input_ids'])[0])\n"
    )
    done = run("-c", program, cwd=users_folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["hello", "again"]


def test_the_users_own_modules_stay_reachable(users_folder):
    done = run("-c", "import dvse, model", cwd=users_folder)
    assert done.stderr.strip() == "the wrong model"
