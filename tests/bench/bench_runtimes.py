"""ONNX Runtime beside torch: from the shell to a result, captions and tokens of many files, a step,
whole jobs.

Both sides have the same model (`tiny`), the same files and two threads; codes and captions are
compared before anything is timed. Jobs are those of `bench_job` (ViT-S on photographs,
Wav2Vec2-base on speech, random weights) with `--runtime onnx`; the peer is torch's own forward on
ready tensors.
"""

import functools
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch
from bench_caption import _FILES
from bench_image import _jpegs
from bench_job import (
    _LENGTHS_S,
    _alternate,
    _KeptOpen,
    _run,
    _timed,
)
from bench_startup import _command, _finished
from real_bundle import RATE_HZ, real_bundle, speech_like
from timing import Row, alternate

import dvse
from pipelines import Captioner
from pipelines.answering.inputs import as_row
from pipelines.answering.model_directory import load_model
from pipelines.engines.local import LocalEngine
from pipelines.runtimes.onnx_export import export_onnx
from pipelines.runtimes.onnx_settings import OnnxSettings
from pipelines.tiny.samples import make_samples

_THREADS = 2
_PHOTOS = 130


def rows() -> Iterator[Row]:
    """Yield all of them, on one export."""
    for case in CASES.values():
        yield from case()


def _start() -> Iterator[Row]:
    """One file from the shell to the result, against `import torch`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = export_onnx("tiny", folder / "tiny").folder
        samples = make_samples(folder / "samples")
        written = ["--output", folder / "out", "--quiet", "--overwrite", "--bundle", model]
        files = {s: next(p for p in samples if p.suffix == s) for s in (".png", ".wav")}
        for kind, path in (("picture", files[".png"]), ("recording", files[".wav"])):
            for command, words in (
                ("tokenize", ["tokenize", path, *written]),
                ("caption", ["caption", path, "--model", model]),
            ):
                _command(words)
                pairs = [(_command(words), _finished(["-c", "import torch"])) for _ in range(7)]
                yield Row(
                    name=f"runtimes.start.{command}_{kind}",
                    ours=statistics.median(ours.wall_s for ours, _ in pairs),
                    peer=statistics.median(peer.wall_s for _, peer in pairs),
                    ratio=statistics.median(ours.wall_s / peer.wall_s for ours, peer in pairs),
                    bar="<= 0.8 s",
                    note="from the shell; peer: python -c 'import torch'",
                )


def _many() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = export_onnx("tiny", folder / "tiny").folder
        ours = Captioner.load(model, threads=_THREADS)
        peer = Captioner.load("tiny", threads=_THREADS)
        for kind, count in (("pictures", 256), ("recordings", 128)):
            files = _FILES[kind](folder, count)
            said = [captioner(files, max_new_tokens=12) for captioner in (ours, peer)]
            same = sum(a == b for a, b in zip(*said, strict=True))
            pairs = alternate(
                lambda files=files: ours(files, max_new_tokens=12),
                lambda files=files: peer(files, max_new_tokens=12),
                pairs=5,
            )
            note = f"{count} files; peer: torch; {same} captions the same"
            yield pairs.row(f"runtimes.captions.{kind}", note=note)
            rows = [as_row(file) for file in files]
            ids = [[e.ids.tolist() for e in c.tokenizer.encode_many(rows)] for c in (ours, peer)]
            same = sum(a == b for a, b in zip(*ids, strict=True))
            pairs = alternate(
                lambda rows=rows: list(ours.tokenizer.encode_many(rows)),
                lambda rows=rows: list(peer.tokenizer.encode_many(rows)),
                pairs=5,
            )
            note = f"{count} files; peer: torch; ids of {same} the same"
            yield pairs.row(f"runtimes.tokens.{kind}", note=note)


def _steps() -> Iterator[Row]:
    """A prompt of 80 ids and one token behind it, at batch 1 and 8."""
    with tempfile.TemporaryDirectory() as name:
        for weights in ("float32", "int8", "int4"):
            export = export_onnx("tiny", Path(name) / weights, OnnxSettings(weights=weights))
            decoder = Captioner.load(export.folder, threads=_THREADS).model
            peer = load_model("tiny", threads=_THREADS).model
            torch.set_num_threads(_THREADS)
            for batch in (1, 8):
                ids = np.random.default_rng(0).integers(0, 9000, (batch, 80))
                ones, places = np.ones_like(ids), np.tile(np.arange(80), (batch, 1))
                _, cache = decoder.step(ids, ones, places, decoder.empty_cache(batch))
                one = np.ones((batch, 1), np.int64)
                mask = np.concatenate([ones, one], axis=1)

                def ours(one=one, mask=mask, cache=cache, decoder=decoder) -> None:
                    for _ in range(20):
                        decoder.step(one, mask, 80 * one, cache)

                with torch.inference_mode():
                    past = peer(torch.from_numpy(ids), use_cache=True).past_key_values

                @torch.inference_mode()
                def theirs(one=one, peer=peer, past=past) -> None:
                    for _ in range(20):
                        peer(torch.from_numpy(one), past_key_values=past, use_cache=True)

                pairs = alternate(ours, theirs)
                size = (export.folder / "model.onnx").stat().st_size / 1e6
                yield Row(
                    name=f"runtimes.step.{weights}_batch_{batch}",
                    ours=pairs.ours / 20,
                    peer=pairs.peer / 20,
                    ratio=pairs.speedup,
                    note=f"one token behind 80 and more; {size:.1f} MB; peer: torch in fp32",
                )


def _jobs() -> Iterator[Row]:
    """Whole jobs in ONNX Runtime; the peer is the bare forward of the same encoder in torch."""
    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        folder = Path(name)
        bundle = real_bundle(folder / "bundle", "small")
        graphs = str(export_onnx(bundle, folder / "graphs").folder)
        tokenizer = dvse.load(bundle, threads=_THREADS)
        _jpegs(folder / "photos", count=_PHOTOS, width=500, height=375)
        pixels = torch.zeros(_PHOTOS, 224, 224, 3, dtype=torch.uint8).random_(0, 256)
        batches = pixels.split(tokenizer.image.batch_rows((224, 224, 3)))
        (folder / "speech").mkdir()
        waves = [speech_like(seconds, seed=int(seconds)) for seconds in _LENGTHS_S]
        for number, wave in enumerate(waves):
            soundfile.write(folder / "speech" / f"{number}.flac", wave, RATE_HZ)
        ready = [torch.from_numpy(wave.astype(np.float32))[None] for wave in waves]
        for what, amount, unit, encoder, inputs in (
            ("photos", _PHOTOS, "pictures/s", tokenizer.image.encoder, batches),
            ("speech", sum(_LENGTHS_S), "s of speech/s", tokenizer.audio.encoder, ready),
        ):

            def forward(encoder=encoder, inputs=inputs) -> None:
                with tokenizer.profile.pinned():
                    for batch in inputs:
                        encoder(batch)

            engine = _KeptOpen(LocalEngine(num_workers=2))
            job = functools.partial(_run, engine, graphs, [str(folder / what)], folder / "out")
            try:
                pairs = _alternate(job, functools.partial(_timed, forward))
            finally:
                engine.really_close()
            yield Row(
                name=f"runtimes.job.{what}",
                ours=amount / pairs.ours,
                peer=amount / pairs.peer,
                ratio=pairs.speedup,
                bar=">= 1.3",
                unit=unit,
                note="whole job in ONNX Runtime, 2 decode workers; peer: torch's bare forward",
            )


CASES = {"job": _jobs, "start": _start, "many": _many, "step": _steps}
