"""Parts into a bundle, and growing one without moving or redefining an id."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import dvse
from dvse.audio.encoder import AudioEncoder
from dvse.audio.encoder import EncoderConfig as AudioConfig
from dvse.audio.tokenizer import AudioTokenizer
from dvse.audio.windows import Windowing
from dvse.codebook import Codebook
from dvse.errors import BundleFormatError, BundleNotFoundError, ConfigError, VocabularyError
from dvse.image.encoder import EncoderConfig as ImageConfig
from dvse.image.encoder import ImageEncoder
from dvse.image.geometry import SquareGeometry
from dvse.image.quantizer import CodebookQuantizer
from dvse.image.tokenizer import ImageTokenizer
from dvse.storage.bundle import Bundle
from dvse.storage.part import Part
from dvse.text.sentencepiece import SentencePieceText
from pipelines.cli import main
from pipelines.training.bundle_building import build_bundle
from pipelines.training.learnt_runs import LearntRuns, codes_sha256

LINES = [f"{n} the quick brown fox jumps over {n * 7} lazy dogs; who watches?" for n in range(99)]
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": (8, 8, 8),
    "conv_kernel": (10, 4, 4),
    "conv_stride": (5, 4, 4),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
NOISE = np.random.default_rng(0).normal(size=4000).astype(np.float32) * 0.1


@pytest.fixture(scope="module")
def text_part(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    model = SentencePieceText.train(LINES, vocab_size=300, model_type="bpe")
    model.save_files(folder)
    Part(modality="text", folder=folder, spec=model.spec(), metrics={"files": {}}).save()
    (folder / "training.log").write_text("not part of the bundle")
    return folder


def audio_part(folder, num_codes: int, *, seed: int = 0, num_levels: int = 1):
    """A random encoder and the first codes of one endless random codebook."""
    torch.manual_seed(0)
    config = AudioConfig(architecture="hubert", layer=1, normalize=True, config=SIZES)
    centroids = torch.randn(num_levels, 99, 16, generator=torch.Generator().manual_seed(seed))
    media = AudioTokenizer(
        encoder=AudioEncoder(config, config.build()),
        codebook=Codebook(centroids[:, :num_codes]),
        sample_rate_hz=8000,
        windowing=Windowing(window_frames=99, hop_frames=49),
    )
    media.save_files(folder)
    Part(
        modality="audio",
        folder=folder,
        spec=media.spec(),
        metrics={"purity": 0.5},
        provenance={"data": ["noise"]},
    ).save()
    return folder


def image_part(folder, num_codes: int, *, num_levels: int = 1, metric: str = "euclidean"):
    """A random ViT over patches of 8 pixels, with the first codes of an endless codebook."""
    torch.manual_seed(0)
    options = {"img_size": 16, "patch_size": 8, "depth": 1, "embed_dim": 24, "num_heads": 2}
    encoder = ImageEncoder(ImageConfig(name="vit_tiny_patch16_224", options=options))
    centroids = torch.randn(num_levels, 99, 24, generator=torch.Generator().manual_seed(5))
    media = ImageTokenizer(
        encoder=encoder,
        quantizer=CodebookQuantizer(Codebook(centroids[:, :num_codes], metric=metric)),
        geometry=SquareGeometry(size=16, patch_size=8),
    )
    media.save_files(folder)
    Part(modality="image", folder=folder, spec=media.spec()).save()
    return folder


@pytest.fixture(scope="module")
def small(text_part, tmp_path_factory):
    """A bundle with 6 audio codes."""
    folder = tmp_path_factory.mktemp("bundles")
    parts = {"text": text_part, "audio": audio_part(folder / "part", 6)}
    build_bundle(folder / "small", parts=parts, card="Made for tests.")
    return folder / "small"


def test_a_bundle_holds_what_its_parts_say_and_nothing_else(small, text_part):
    bundle = Bundle.open(small)
    assert (bundle.name, bundle.card) == ("small", "Made for tests.")
    assert bundle.sections["audio"].metrics == {"purity": 0.5}
    assert bundle.sections["audio"].provenance == {"data": ["noise"]}
    files = sorted(p.relative_to(small).as_posix() for p in small.rglob("*") if p.is_file())
    assert files == [
        "audio/codebook.safetensors",
        "audio/encoder.safetensors",
        "dvse.json",
        "processing_dvse.py",
        "processor_config.json",
        "text/spiece.model",
        "tokenizer_config.json",
        "vocabulary.json",
    ]
    v = bundle.vocabulary
    assert (v.text_size, v.num_codes("audio"), v.num_codes("image")) == (300, 6, 0)
    same = (text_part / "spiece.model").read_bytes()
    assert (small / "text" / "spiece.model").read_bytes() == same


def test_the_same_parts_give_the_same_fingerprint(small, text_part, tmp_path):
    parts = {"text": text_part, "audio": audio_part(tmp_path / "part", 6)}
    again = build_bundle(tmp_path / "again", parts=parts, name="other", card="Other.")
    assert again.fingerprint == Bundle.open(small).fingerprint


def test_it_loads_tokenises_and_saves(small, tmp_path):
    one = dvse.load(small, threads=1)
    row = [dvse.Audio(NOISE, 8000), dvse.Text("the fox")]
    ids = one.encode(row).ids
    assert [s.modality for s in one.decode(ids)] == ["audio", "text"]
    two = dvse.load(one.save(tmp_path / "copy"), threads=1)
    assert two.fingerprint == one.fingerprint
    assert two.encode(row).ids.tolist() == ids.tolist()


def test_a_modality_is_added_without_moving_an_id(text_part, tmp_path):
    words = build_bundle(tmp_path / "words", parts={"text": text_part}, card="Words.")
    both = build_bundle(
        tmp_path / "both",
        parts={"audio": audio_part(tmp_path / "part", 6)},
        base=tmp_path / "words",
    )
    assert words.vocabulary.diff(both.vocabulary) == ["added: audio level 0 codes 0..5 at 556..561"]
    assert both.card == "Words."
    text = dvse.Text("the lazy dog")
    old, new = dvse.load(words.folder), dvse.load(both.folder)
    assert old.encode(text).ids.tolist() == new.encode(text).ids.tolist()


def test_a_codebook_grows_behind_its_old_codes(small, tmp_path):
    grown = build_bundle(
        tmp_path / "grown", parts={"audio": audio_part(tmp_path / "part", 9)}, base=small
    )
    old = Bundle.open(small).vocabulary
    assert old.diff(grown.vocabulary) == ["added: audio level 0 codes 6..8 at 562..564"]
    assert grown.vocabulary.name_of(561) == old.name_of(561) == "<|audio_5|>"
    tokenizer = dvse.load(grown.folder, threads=1)
    encoding = tokenizer.encode(dvse.Audio(NOISE, 8000))
    codes, _ = tokenizer.vocabulary.codes_of("audio", encoding.ids[1:-1])
    assert codes.max() >= 6, "a code of the new block is in use"
    assert tokenizer.decode(encoding.ids)[0].units[:, 0].tolist() == codes.tolist()


def learnt_runs(small, runs, num_codes=6):
    audio = dvse.load(small, threads=1).audio
    return LearntRuns(
        num_codes=num_codes,
        codes_sha256=codes_sha256(audio, num_codes),
        runs=runs,
        metrics={"runs": len(runs)},
        provenance={"command": "dvse train bpe"},
    )


def test_runs_get_ids_behind_and_stay_when_the_codebook_grows(small, tmp_path):
    old = dvse.load(small, threads=1)
    units = old.decode(old.encode(dvse.Audio(NOISE, 8000)).ids)[0].units[:, 0].tolist()
    run = tuple(units[10:12])
    learnt_runs(small, [run]).save(tmp_path / "bpe")
    words = ["--base", str(small), "--bpe", str(tmp_path / "bpe"), "--output", str(tmp_path / "b")]
    assert main(["build-bundle", *words]) == 0
    bundle = Bundle.open(tmp_path / "b")
    assert old.vocabulary.diff(bundle.vocabulary) == ["added: audio runs 0..0 at 562..562"]
    about = bundle.sections["audio"]
    assert about.metrics == {"purity": 0.5, "runs": {"runs": 1}}
    assert about.provenance == {"data": ["noise"], "runs": {"command": "dvse train bpe"}}
    assert bundle.fingerprint != Bundle.open(small).fingerprint
    new = dvse.load(bundle.folder, threads=1)
    ids = new.encode(dvse.Audio(NOISE, 8000)).ids
    assert 562 in ids and new.decode(ids)[0].units[:, 0].tolist() == units
    assert old.decode(ids[ids < 562])  # ids of the base mean there what they meant
    again = dvse.load(new.save(tmp_path / "copy"), threads=1)
    assert again.fingerprint == new.fingerprint

    # More codes come behind the run; what was learnt and said of it stays.
    part = audio_part(tmp_path / "part", 9)
    grown = build_bundle(tmp_path / "grown", parts={"audio": part}, base=bundle.folder)
    assert bundle.vocabulary.diff(grown.vocabulary) == [
        "added: audio level 0 codes 6..8 at 563..565"
    ]
    assert grown.vocabulary.runs.runs == (run,)
    assert grown.sections["audio"].metrics["runs"] == {"runs": 1}
    # Runs learnt before the codebook grew still fit, and those of the base come first.
    learnt_runs(small, [run, (5, 5)]).save(tmp_path / "more")
    more = build_bundle(tmp_path / "m", parts={}, base=grown.folder, runs=tmp_path / "more")
    assert more.vocabulary.name_of(566) == "<|audio_run_1|>"


def test_runs_of_other_codes_are_refused(small, text_part, tmp_path):
    def build(runs, base=small, **parts):
        runs.save(tmp_path / "bpe")
        build_bundle(tmp_path / "out", parts=parts, base=base, runs=tmp_path / "bpe")

    good = learnt_runs(small, [(1, 2)])
    with pytest.raises(VocabularyError, match="learnt on another codebook, of 6 codes"):
        build(replace(good, codes_sha256="0" * 64))
    with pytest.raises(VocabularyError, match="learnt on another codebook, of 7 codes"):
        build(replace(good, num_codes=7))
    with pytest.raises(ConfigError, match="need an audio part"):
        build(good, base=None, text=text_part)
    for text, reason in (
        ("[]", "expected format 'dvse-runs'"),
        ("{", "expected JSON"),
        ('{"format": "dvse-runs", "format_version": 1, "num_codes": 2, "runs": [[1]]}', "run 0"),
        ('{"format": "dvse-runs", "format_version": 1, "num_codes": 2}', "'runs'"),
    ):
        (tmp_path / "bpe" / "runs.json").write_text(text)
        with pytest.raises(BundleFormatError, match=reason):
            LearntRuns.load(tmp_path / "bpe")
    with pytest.raises(BundleNotFoundError, match="written by dvse train bpe"):
        LearntRuns.load(tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_residual_levels_go_through_bundle_ids_and_decoding(text_part, tmp_path, metric):
    """Three levels of each kind of codebook, then more codes in every level."""
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    row = [dvse.Image(picture), dvse.Audio(NOISE, 8000)]

    def bundle(name, num_codes, base=None):
        parts = {
            "image": image_part(tmp_path / f"{name}-image", num_codes, num_levels=3, metric=metric),
            "audio": audio_part(tmp_path / f"{name}-audio", num_codes, num_levels=2),
        }
        if base is None:
            parts["text"] = text_part
        return build_bundle(tmp_path / name, parts=parts, base=base, card="Levels.")

    old = bundle("old", 6)
    tokenizer = dvse.load(old.folder, threads=1)
    for item, media in ((row[0], tokenizer.image), (row[1], tokenizer.audio)):
        (codes,) = media.encode(list(media.preparer.prepare(item)))
        encoding = tokenizer.encode(item)
        found, _ = tokenizer.vocabulary.codes_of(
            encoding.modality, [i for i in encoding.ids if i >= 556]
        )
        assert found.tolist() == codes.flatten().tolist()
        (segment,) = tokenizer.decode(encoding.ids)
        decoded = segment.codes if segment.modality == "image" else segment.units
        assert decoded.reshape(codes.shape).tolist() == codes.tolist()
    assert old.vocabulary.num_levels("image") == 3

    new = bundle("new", 9, base=old.folder)
    added = old.vocabulary.diff(new.vocabulary)
    assert len(added) == 5 and all(line.startswith("added: ") for line in added)
    names = [old.vocabulary.name_of(i) for i in range(556, 556 + 5 * 6)]
    assert names == [new.vocabulary.name_of(i) for i in range(556, 556 + 5 * 6)]
    grown = dvse.load(new.folder, threads=1)
    for item in row:
        (segment,) = grown.decode(grown.encode(item).ids)
        codes = segment.codes if segment.modality == "image" else segment.units
        assert codes.max() >= 6, "codes of the new blocks are in use"


@pytest.mark.parametrize(("num_codes", "seed"), [(6, 1), (9, 1), (5, 0)])
def test_old_codes_never_change_their_meaning(small, tmp_path, num_codes, seed):
    part = audio_part(tmp_path / "part", num_codes, seed=seed)
    with pytest.raises(VocabularyError, match="would change their meaning; build a new bundle"):
        build_bundle(tmp_path / "out", parts={"audio": part}, base=small)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("num_codes", "change"), [(6, "weights"), (9, "weights"), (9, "rate")])
def test_another_encoder_under_the_codes_of_the_base_has_to_be_asked_for(
    num_codes, change, small, tmp_path
):
    folder = audio_part(tmp_path / "part", num_codes)
    if change == "weights":
        weights = load_file(folder / "encoder.safetensors")
        first = sorted(weights)[0]
        save_file({**weights, first: weights[first] + 0.5}, folder / "encoder.safetensors")
    else:
        part = Part.load(folder)
        replace(part, spec={**part.spec, "sample_rate_hz": 16000}).save()
    with pytest.raises(VocabularyError, match=r"but another encoder .*--allow-new-encoder"):
        build_bundle(tmp_path / "out", parts={"audio": folder}, base=small)
    assert not (tmp_path / "out").exists()
    words = ["--audio", str(folder), "--base", str(small), "--output", str(tmp_path / "out")]
    assert main(["build-bundle", *words]) == 1
    assert main(["build-bundle", *words, "--allow-new-encoder"]) == 0
    assert dvse.load(tmp_path / "out", threads=1).audio.num_codes == num_codes


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"parts": {}}, ConfigError, "needs a text part"),
        ({"parts": {"text": "TEXT"}, "base": "SMALL"}, ConfigError, "cannot grow"),
        ({"parts": {"text": "EMPTY"}}, BundleNotFoundError, "written by dvse train"),
        ({"parts": {"audio": "TEXT", "text": "TEXT"}}, BundleFormatError, "a part for audio"),
        ({"parts": {}, "base": "EMPTY"}, BundleNotFoundError, "no bundle"),
    ],
)
def test_what_cannot_be_built(options, error, message, small, text_part, tmp_path):
    (tmp_path / "empty").mkdir()
    named = {"TEXT": text_part, "SMALL": small, "EMPTY": tmp_path / "empty"}
    options = dict(options)
    options["parts"] = {modality: named[name] for modality, name in options["parts"].items()}
    if "base" in options:
        options["base"] = named[options["base"]]
    with pytest.raises(error, match=message):
        build_bundle(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(text_part, small, tmp_path):
    (tmp_path / "file").write_text("x")
    for taken in (small, tmp_path / "file"):
        with pytest.raises(ConfigError, match="expected a new or empty directory"):
            build_bundle(taken, parts={"text": text_part})
    (tmp_path / "new").mkdir()
    assert build_bundle(tmp_path / "new", parts={"text": text_part}).name == "new"


def test_a_spoiled_part_is_refused(text_part, tmp_path):
    spoiled = shutil.copytree(text_part, tmp_path / "text")
    (spoiled / "spiece.model").write_bytes(b"nonsense")
    with pytest.raises(BundleFormatError, match=r"spiece\.model"):
        build_bundle(tmp_path / "out", parts={"text": spoiled})


def test_the_command(text_part, tmp_path, capsys):
    (tmp_path / "card.md").write_text("# Words\n", encoding="utf-8")
    words = ["--text", str(text_part), "--card", str(tmp_path / "card.md"), "--name", "words"]
    assert main(["build-bundle", *words, "--output", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    bundle = Bundle.open(tmp_path / "out")
    assert "words: Vocabulary(text at 0..299" in out
    assert bundle.fingerprint[:16] in out
    assert bundle.card == "# Words\n"
    assert main(["build-bundle", *words, "--output", str(tmp_path / "out")]) == 2
    assert "expected a new or empty directory" in capsys.readouterr().err
