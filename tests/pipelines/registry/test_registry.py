"""Published tokenizers by name, against a web server of this machine."""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import DacConfig, DacModel, HubertConfig, HubertModel

import dvse
from dvse.errors import (
    BundleIntegrityError,
    BundleNotFoundError,
    ConfigError,
    StorageError,
    WeightsFormatError,
)
from pipelines.cli import main
from pipelines.registry.download import SourceFile
from pipelines.registry.making import made_bundle
from pipelines.registry.published import names
from pipelines.registry.registry import KINDS, SHIPPED, Registry

DAC = {
    "sampling_rate": 8000,
    "encoder_hidden_size": 4,
    "downsampling_ratios": [2, 4, 5],
    "decoder_hidden_size": 32,
    "n_codebooks": 3,
    "codebook_size": 16,
    "codebook_dim": 4,
}


class Web:
    """Files by path; notes what was asked for, and can cut an answer short."""

    def __init__(self):
        self.files, self.asked, self.cut_at, self.says = {}, [], None, None
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                web.asked.append(self.path)
                data = web.files.get(self.path)
                if data is None:
                    self.send_error(404)
                    return
                if web.says is not None:
                    self.wfile.write(web.says)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: web.cut_at])

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def web():
    web = Web()
    yield web
    web.server.shutdown()
    web.server.server_close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DVSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def files_under(folder):
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


# fairseq's names of a HuBERT whose shapes are small.
def fairseq_hubert(path):
    import re

    torch.manual_seed(2)
    model = HubertModel(
        HubertConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            conv_dim=[16] * 7,
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=4,
        )
    ).eval()
    renamed = {}
    pairs = [
        (r"feature_extractor\.conv_layers\.(\d+)\.conv", r"feature_extractor.conv_layers.\1.0"),
        (
            r"feature_extractor\.conv_layers\.(\d+)\.layer_norm",
            r"feature_extractor.conv_layers.\1.2",
        ),
        (r"feature_projection\.projection", "post_extract_proj"),
        (r"feature_projection\.layer_norm", "layer_norm"),
        (r"masked_spec_embed", "mask_emb"),
        (r"(encoder\.pos_conv)_embed\.conv\.parametrizations\.weight\.original0", r"\1.0.weight_g"),
        (r"(encoder\.pos_conv)_embed\.conv\.parametrizations\.weight\.original1", r"\1.0.weight_v"),
        (r"(encoder\.pos_conv)_embed\.conv\.bias", r"\1.0.bias"),
        (r"(encoder\.layers\.\d+)\.layer_norm", r"\1.self_attn_layer_norm"),
        (r"(encoder\.layers\.\d+)\.attention", r"\1.self_attn"),
        (r"feed_forward\.intermediate_dense", "fc1"),
        (r"feed_forward\.output_dense", "fc2"),
    ]
    for name, tensor in model.state_dict().items():
        for old, new in pairs:
            name = re.sub("^" + old if not old.startswith(("(", "feed")) else old, new, name)
        renamed[name] = tensor
    torch.save({"model": renamed}, path)
    return model


def listed(tmp_path, monkeypatch, **tables):
    """Write a list of bundles of the user's own, as TOML, and name it in the environment."""
    lines = []
    for name, table in tables.items():
        lines.append(f"[{name}]")
        lines += [
            f"{key} = {json.dumps(value)}"
            for key, value in table.items()
            if key != "files" and key != "settings"
        ]
        for role, file in table["files"].items():
            lines += [f"files.{role}.{key} = {json.dumps(value)}" for key, value in file.items()]
        inner = ", ".join(
            f"{key} = {json.dumps(value)}" for key, value in table["settings"].items()
        )
        lines.append(f"settings = {{ {inner} }}")
    path = tmp_path / "own.toml"
    path.write_text("\n".join(lines))
    monkeypatch.setenv("DVSE_BUNDLES", str(path))
    return path


def entry(kind, files, **settings):
    about = {"text": "tiny", "about": "a test", "licence": "MIT", "home": "nowhere"}
    return {"kind": kind, **about, "files": files, "settings": settings}


def dac_entry(web, tmp_path, **more):
    torch.manual_seed(1)
    folder = tmp_path / "dac"
    DacModel(DacConfig(**DAC)).save_pretrained(folder)
    files = {}
    for role, name in (("config", "config.json"), ("weights", "model.safetensors")):
        data = (folder / name).read_bytes()
        web.files[f"/dac/{name}"] = data
        files[role] = {"url": f"{web.url}/dac/{name}", "sha256": sha256(data)}
    return entry("codec", files, num_levels=2, chunk_s=5.0, **more)


def test_a_codec_by_name(web, tmp_path, cache, monkeypatch):
    listed(tmp_path, monkeypatch, my_dac=dac_entry(web, tmp_path))
    assert "my_dac" in names() and "hubert-base-km500" in names()
    tokenizer = dvse.load("my_dac")
    assert tokenizer.vocabulary.num_levels("audio") == 2
    assert tokenizer.vocabulary.num_codes("audio") == 16
    assert "Licence of the weights: MIT" in tokenizer.card
    noise = 0.1 * np.random.default_rng(0).standard_normal(800).astype(np.float32)
    ids = tokenizer.encode(dvse.Audio(noise, 8000)).ids
    assert len(web.asked) == 2
    web.files.clear()  # from now on nothing can be had
    assert (dvse.load("my_dac").encode(dvse.Audio(noise, 8000)).ids == ids).all()
    assert len(web.asked) == 2
    assert not list(cache.rglob("*.part")) and not list((cache / "bundles").glob(".*"))


def test_hubert_and_its_centroids_by_name(web, tmp_path, cache, monkeypatch):
    import joblib
    from sklearn.cluster import MiniBatchKMeans

    model = fairseq_hubert(tmp_path / "hubert.pt")
    samples = 0.3 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    with torch.inference_mode():
        hidden = model(torch.from_numpy(samples)[None], output_hidden_states=True).hidden_states[1]
    kmeans = MiniBatchKMeans(9, n_init=1, random_state=0).fit(hidden[0].numpy())
    joblib.dump(kmeans, tmp_path / "km.bin")
    files = {}
    for role, path in (("encoder", tmp_path / "hubert.pt"), ("centroids", tmp_path / "km.bin")):
        web.files[f"/{path.name}"] = path.read_bytes()
        digits = sha256(path.read_bytes())[:8]  # as torch.hub names files
        files[role] = {"url": f"{web.url}/{path.name}", "sha256": digits}
    settings = {
        "layer": 1, "normalize": False, "pre_norm": False, "num_heads": 4, "variance_floor": 1e-5,
        "final_norm": False, "pad_samples": 0, "chunk_s": 100.0, "merge_repeats": False,
    }  # fmt: skip
    listed(tmp_path, monkeypatch, my_units=entry("units", files, **settings))
    tokenizer = dvse.load("my_units")
    soundfile.write(tmp_path / "noise.wav", samples, 16_000, "FLOAT")
    (segment,) = tokenizer.decode(tokenizer.encode(dvse.Audio(tmp_path / "noise.wav")).ids)
    assert segment.units[:, 0].tolist() == kmeans.predict(hidden[0].numpy()).tolist()


def test_offline_it_says_what_to_put_where(web, tmp_path, cache, monkeypatch):
    listed(tmp_path, monkeypatch, my_dac=dac_entry(web, tmp_path))
    data = dict(web.files)
    web.files.clear()
    with pytest.raises(BundleNotFoundError, match=r"download it yourself and put it at") as caught:
        dvse.load("my_dac")
    assert files_under(cache) == []
    assert "404" in str(caught.value) or "Not Found" in str(caught.value)
    # Both files at once, each with its place.
    said = re.findall(r"(http\S+) (?:cannot .* put it )?at (/[^\s,]+)", str(caught.value))
    assert [url for url, _ in said] == [f"{web.url}{path}" for path in data]
    first, second = (Path(place) for _, place in said)
    first.parent.mkdir(parents=True, exist_ok=True)
    first.write_bytes(data[f"/dac/{first.name}"])
    with pytest.raises(BundleNotFoundError) as caught:
        dvse.load("my_dac")
    assert str(second) in str(caught.value) and str(first) not in str(caught.value)
    second.write_bytes(data[f"/dac/{second.name}"])
    assert dvse.load("my_dac").vocabulary.num_levels("audio") == 2
    web.server.shutdown()
    web.server.server_close()
    gone = SourceFile(url=f"{web.url}/x.bin")
    with pytest.raises(BundleNotFoundError, match="refused"):
        gone.fetch(tmp_path / "files")


def assert_one_sentence(tmp_path, capsys, words):
    """What a command says of a published bundle that cannot be had; no shard is begun."""
    (tmp_path / "a.txt").write_text("a")
    command = ["tokenize", str(tmp_path / "a.txt"), "--bundle", "my_dac", "--workers", "0"]
    capsys.readouterr()
    assert main([*command, "--output", str(tmp_path / "tokens")]) == 1
    (line,) = [x for x in capsys.readouterr().err.splitlines() if "finding the inputs" not in x]
    assert words in line
    assert not [path for path in (tmp_path / "tokens").glob("*") if path.name != ".job"]


def test_another_hash_and_half_a_download(web, tmp_path, cache, monkeypatch, capsys):
    table = dac_entry(web, tmp_path)
    listed(tmp_path, monkeypatch, my_dac=table)
    right = web.files["/dac/model.safetensors"]
    web.files["/dac/model.safetensors"] = right[:-1] + b"x"
    with pytest.raises(BundleIntegrityError, match="damaged or another one"):
        dvse.load("my_dac")
    assert files_under(cache) == ["config.json"]
    assert_one_sentence(tmp_path, capsys, "damaged or another one")
    web.files["/dac/model.safetensors"] = right
    web.cut_at = 1000
    with pytest.raises(BundleIntegrityError, match=r"ended after 1,000 of [\d,]+ bytes"):
        dvse.load("my_dac")
    assert_one_sentence(tmp_path, capsys, "ended after 1,000 of")
    assert files_under(cache) == ["config.json"]
    web.cut_at = None
    dvse.load("my_dac")


@pytest.mark.parametrize(
    ("says", "message"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf", "ended after 0 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nwhole", None),
        (b"no protocol of the web\r\n\r\n", "cannot be downloaded"),
        (b"", "cannot be downloaded"),
    ],
    ids=["chunks", "length", "protocol", "silence"],
)
def test_answers_of_broken_servers(web, tmp_path, says, message):
    web.files["/x.bin"], web.says = b"data", says
    source = SourceFile(url=f"{web.url}/x.bin")
    if message is None:
        assert source.fetch(tmp_path).read_bytes() == b"whole"
        return
    with pytest.raises((BundleIntegrityError, BundleNotFoundError), match=message):
        source.fetch(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_page_in_the_place_of_a_file_without_a_hash(web, tmp_path, cache, monkeypatch):
    """It is taken for the file, as nobody says what that is; what failed says where it lies."""
    table = dac_entry(web, tmp_path)
    right = web.files["/dac/model.safetensors"]
    del table["files"]["weights"]["sha256"]
    listed(tmp_path, monkeypatch, my_dac=table)
    web.files["/dac/model.safetensors"] = b"<html>Please sign in</html>"
    with pytest.raises(WeightsFormatError, match=r"model\.safetensors: if that is not") as caught:
        dvse.load("my_dac")
    assert "\n" not in str(caught.value)
    (place,) = cache.rglob("model.safetensors")
    place.unlink()
    place.with_name("model.safetensors.sha256").unlink()
    web.files["/dac/model.safetensors"] = right
    assert dvse.load("my_dac").vocabulary.num_levels("audio") == 2


def test_a_hash_that_nobody_publishes_is_kept_to(web, tmp_path):
    web.files["/a/x.bin"] = b"first"
    source = SourceFile(url=f"{web.url}/a/x.bin")
    path = source.fetch(tmp_path)
    assert path.read_bytes() == b"first"
    assert (tmp_path / "x.bin.sha256").read_text().strip() == sha256(b"first")
    path.write_bytes(b"other")
    with pytest.raises(BundleIntegrityError, match=sha256(b"first")):
        source.fetch(tmp_path)
    path.unlink()
    web.files["/a/x.bin"] = b"changed"
    with pytest.raises(BundleIntegrityError, match=sha256(b"changed")):
        source.fetch(tmp_path)
    assert not path.exists()


def test_a_folder_that_cannot_be_written(web, tmp_path):
    web.files["/x.bin"] = b"data"
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="DVSE_CACHE"):
        SourceFile(url=f"{web.url}/x.bin").fetch(tmp_path / "file" / "folder")


def test_a_part_that_cannot_be_made_leaves_nothing(web, tmp_path, cache, monkeypatch):
    table = dac_entry(web, tmp_path)
    table["settings"]["num_levels"] = 9
    listed(tmp_path, monkeypatch, my_dac=table)
    with pytest.raises(ConfigError, match=r"num_levels of 1\.\.3"):
        dvse.load("my_dac")
    table["settings"]["speed"] = 2
    listed(tmp_path, monkeypatch, my_dac=table)
    with pytest.raises(ConfigError, match="my_dac: unknown setting 'speed'"):
        dvse.load("my_dac")
    assert list((cache / "bundles").iterdir()) == []


def test_another_setting_is_another_bundle(web, tmp_path, cache, monkeypatch):
    table = dac_entry(web, tmp_path)
    listed(tmp_path, monkeypatch, my_dac=table)
    first = made_bundle(Registry.load()["my_dac"])
    table["settings"]["num_levels"] = 3
    listed(tmp_path, monkeypatch, my_dac=table)
    second = made_bundle(Registry.load()["my_dac"])
    assert first != second and len(web.asked) == 2
    assert dvse.load("my_dac").vocabulary.num_levels("audio") == 3


def test_names_that_nobody_knows(cache):
    with pytest.raises(BundleNotFoundError, match="hubert-base-km500"):
        dvse.load("hubert-base-km501")


def test_the_shipped_list_is_whole():
    registry = Registry.load(SHIPPED)
    assert len(registry) >= 12
    for one in registry.values():
        assert one.licence and one.about and one.home.startswith("https://")
        assert set(one.files) >= KINDS[one.kind]
        assert all(file.url.startswith("https://") for file in one.files.values())
        on_hub = [f.url for f in one.files.values() if "huggingface.co" in f.url]
        if one.name != "titok-l-32":  # of which no commit is on record
            assert all(re.search(r"/resolve/[0-9a-f]{40}/", url) for url in on_hub)
        if one.kind == "units":
            if not one.name.startswith("seamless"):  # whose authors publish no hashes
                assert all(len(file.sha256) == 64 for file in one.files.values())
            assert {"normalize", "final_norm", "variance_floor", "pad_samples", "chunk_s",
                    "merge_repeats", "layer"} <= set(one.settings)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a]\nkind = 1", "expected the fields"),
        ("a = 3", "expected the fields"),
        ("[a", "TOML"),
        (None, "there is none"),
    ],
)
def test_a_list_that_is_none(tmp_path, text, message):
    path = tmp_path / "list.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises((ConfigError, BundleNotFoundError), match=message):
        Registry.load(path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("url", "file:///etc/passwd", "http or https"),
        ("url", "https://host/", "plain file name"),
        ("name", "../x", "plain file name"),
        ("sha256", "xyz", "in hex"),
    ],
)
def test_sources_outside_the_rules(field, value, message):
    with pytest.raises(ConfigError, match=message):
        SourceFile(**{"url": "https://host/file", field: value})


@pytest.mark.network
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", sorted(Registry.load(SHIPPED)))
def test_every_shipped_entry_can_be_had(name, cache):
    assert dvse.load(name).vocabulary.num_ids > 1000
