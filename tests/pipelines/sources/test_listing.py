"""What a user types → entries → records, whichever kind of source."""

import io
import json
import os
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_reading import described, records

from dvse.errors import ConfigError, DecodeError
from dvse.items import Image
from pipelines.sources.listing import Lister
from pipelines.sources.loading import load
from pipelines.sources.registry import SourceOptions, make_source


def make_tar(path, members, *, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


# Folders, files, globs


def test_a_folder_is_searched_to_the_bottom_in_the_order_of_bytes(tmp_path):
    for name in ("b.png", "a/z.wav", "a/B.png", "a/ä.png", "Z.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [r.id for r in records(tmp_path)] == ["Z.txt", "a/B.png", "a/z.wav", "a/ä.png", "b.png"]


def test_unknown_extensions_and_svg_are_failures_that_say_why(tmp_path):
    for name in ("a.svg", "b.dat", "c"):
        (tmp_path / name).write_bytes(b"x")
    svg, dat, none = (described(r) for r in records(tmp_path))
    assert svg == (
        "DecodeError: a.svg: SVG pictures are drawings, not pixels; convert it to PNG first"
    )
    assert "unknown extension '.dat'" in dat
    assert "unknown extension '(none)'" in none


def test_an_extension_is_cut_off_once(tmp_path):
    # "speech.flac.flac".rstrip(".flac") would leave "speech"; so would two cuts.
    (tmp_path / "calf.flac").write_bytes(b"x")
    (tmp_path / "calf.flac.flac").write_bytes(b"x")
    (tmp_path / "calf.txt").write_bytes(b"a calf")
    (tmp_path / "calf.flac.txt").write_bytes(b"twice")
    texts = {r.id: r.text for r in records(tmp_path)}
    assert texts["calf.flac"] == "a calf"
    assert texts["calf.flac.flac"] == "twice"


def test_glob_nothing_matches_and_missing_and_empty_folder(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    assert [r.id for r in records(tmp_path / "*.png")] == [str(tmp_path / "a.png")]
    for typed, reason in (
        (tmp_path / "*.jpg", "nothing matches"),
        (tmp_path / "empty", "the folder is empty"),
        (tmp_path / "gone.xyz", "no such file"),
        (tmp_path / "gone.tar", "no such file"),
    ):
        (record,) = records(typed)
        assert reason in record.failure.reason


def test_a_glob_with_two_stars_finds_each_file_once(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").write_bytes(b"x")
    assert len(records(tmp_path / "**" / "*")) == 1


def test_a_circle_of_links_ends(tmp_path):
    (tmp_path / "x.png").write_bytes(b"x")
    (tmp_path / "loop").symlink_to(tmp_path)
    found = records(tmp_path)
    assert [r.failure is None for r in found] == [False, True]
    assert "link back" in found[0].failure.reason


def test_the_jobs_own_output_is_no_input(tmp_path, monkeypatch):
    """`dvse tokenize . --output tokens`, run a second time."""
    (tmp_path / "a.txt").write_text("a")
    output = tmp_path / "tokens"
    (output / ".job").mkdir(parents=True)
    (output / "shard-000000.parquet").write_bytes(b"PAR1")
    (output / ".job" / "listing.jsonl").write_text("[]")
    monkeypatch.chdir(tmp_path)
    lister = Lister(SourceOptions(), skip=Path("tokens"))
    for typed in (".", "*", "**/*"):
        assert [e.name for e in lister.entries([typed])] == ["a.txt"], typed
    (tmp_path / "link").symlink_to(output)
    assert [e.name for e in lister.entries(["."])] == ["a.txt"]


def test_a_pipe_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "p.png")
    (record,) = records(tmp_path)
    with pytest.raises(Exception, match="expected a regular file, received a pipe"):
        record.refs[0].place.read()


def test_files_of_one_stem_make_a_row_with_a_template(tmp_path):
    for name, data in (("a.png", b"A"), ("a.txt", b"one"), ("b.png", b"B")):
        (tmp_path / name).write_bytes(data)
    pair, alone = records(tmp_path, template="{image}Say: {txt}")
    assert described(pair) == [("image", b"A"), ("text", b"Say: "), ("text", b"one")]
    assert "no 'txt' for the template; it has image, png" in described(alone)


@pytest.mark.parametrize("template", ["no fields", "{image"])
def test_a_template_that_is_none_is_refused(tmp_path, template):
    with pytest.raises(ConfigError, match="--template"):
        records(tmp_path, template=template)


# Tars


SAMPLES = [
    ("d/0.jpg", b"J0"),
    ("d/0.txt", b"zero"),
    ("d/1.jpg", b"J1"),
    ("d/1.json", b'{"caption": "one"}'),
    ("d/2.wav", b"W2"),
    ("d/2.cls", b"7\n"),
    ("d/3.npy", b"?"),
]


@pytest.mark.parametrize(("ending", "mode"), [(".tar", "w"), (".tar.gz", "w:gz"), (".tgz", "w:gz")])
def test_members_of_one_stem_make_a_sample(tmp_path, ending, mode):
    path = make_tar(tmp_path / f"s{ending}", SAMPLES, mode=mode)
    zero, one, two, three = records(path)
    assert (zero.id, zero.text) == ("d/0", "zero")
    assert described(zero) == [("image", b"J0"), ("text", b"zero")]
    assert described(one) == [("image", b"J1"), ("text", b"one")]
    assert (described(two), two.text) == ([("audio", b"W2")], "7")
    assert "unknown extension '.npy'" in described(three)


def test_a_template_lays_out_a_sample(tmp_path):
    path = make_tar(tmp_path / "s.tar", SAMPLES[:2])
    (record,) = records(path, template="Look: {jpg} It is {txt}")
    assert [kind for kind, _ in described(record)] == ["text", "image", "text", "text"]


def test_a_damaged_header_in_the_middle_is_one_failure_and_no_silent_end(tmp_path):
    path = make_tar(tmp_path / "s.tar", [(f"{i}.jpg", b"x" * 600) for i in range(6)])
    data = bytearray(path.read_bytes())
    third = data.index(b"3.jpg")
    data[third + 120] ^= 0xFF
    path.write_bytes(data)
    found = records(path)
    assert [r.id for r in found[:-1]] == ["0", "1", "2"]
    assert "the archive is broken" in found[-1].failure.reason
    assert len(found) == 4


@pytest.mark.parametrize("keep", [3 * 1536 + 700, 3 * 1536, 3 * 1536 + 100])
def test_a_tar_that_is_cut_short_is_noticed(tmp_path, keep):
    path = make_tar(tmp_path / "s.tar", [(f"{i}.jpg", b"x" * 600) for i in range(6)])
    path.write_bytes(path.read_bytes()[:keep])
    found = records(path)
    assert [r.id for r in found[:-1]] == ["0", "1", "2"]
    assert found[-1].failure is not None


def test_a_broken_gzip_is_a_failure(tmp_path):
    path = make_tar(
        tmp_path / "s.tar.gz", [(f"{i}.jpg", os.urandom(5000)) for i in range(9)], mode="w:gz"
    )
    path.write_bytes(path.read_bytes()[:20000])
    found = records(path)
    assert "breaks off inside this sample" in found[-2].failure.reason
    assert "archive is broken" in found[-1].failure.reason
    assert [r.id for r in found[:-1]] == [str(i) for i in range(len(found) - 1)]
    assert all(r.failure is None for r in found[:-2])


def test_garbage_and_empty_tars_are_one_failure_each(tmp_path):
    (tmp_path / "garbage.tar").write_bytes(b"no tar" * 1000)
    (tmp_path / "zero.tar").write_bytes(b"")
    make_tar(tmp_path / "empty.tar", [])
    found = records(tmp_path)
    assert [r.failure is not None for r in found] == [True] * 3


# Parquet


def write_parquet(path, columns, features=None):
    table = pa.table(columns)
    if features:
        info = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": info})
    pq.write_table(table, path, row_group_size=2)
    return path


def image(data, path=None):
    return {"bytes": data, "path": path}


def test_image_columns_labels_and_a_null_row(tmp_path):
    path = write_parquet(
        tmp_path / "t.parquet",
        {
            "image": [image(b"A"), None, image(b"C"), image(b"D"), image(None)],
            "label": [0, 1, 1, 0, 0],
        },
        {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}},
    )
    found = records(path)
    assert [r.id for r in found] == [f"{path}/{i}" for i in range(5)]
    assert [r.text for r in found] == ["cat", None, "dog", "cat", None]
    assert described(found[0]) == [("image", b"A")]
    assert described(found[1]) == described(found[4]) == "DecodeError: column 'image' is null"


def test_media_is_known_by_its_struct_or_its_name(tmp_path):
    path = write_parquet(
        tmp_path / "t.parquet", {"speech_wav": [b"W"], "picture": [image(b"P")], "key": ["k"]}
    )
    (record,) = records(path)
    assert record.id == "k"
    assert described(record) == [("audio", b"W"), ("image", b"P")]


def test_paths_in_a_parquet_count_from_its_folder(tmp_path):
    (tmp_path / "x.png").write_bytes(b"X")
    path = write_parquet(tmp_path / "t.parquet", {"image": [image(None, "x.png")]})
    assert described(records(path)[0]) == [("image", b"X")]


def test_text_and_conversation_columns(tmp_path):
    texts = write_parquet(tmp_path / "a.parquet", {"text": ["hello", None]})
    good, null = records(texts)
    assert described(good) == [("text", b"hello")]
    assert null.failure is not None
    messages = [[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]]
    (chat,) = records(write_parquet(tmp_path / "b.parquet", {"messages": messages}))
    assert (b"yes", True) in [
        (p.place.read(), a) for p, a in zip(chat.refs, chat.is_answer, strict=True)
    ]


def test_a_column_may_hold_lists_of_media(tmp_path):
    struct = {"bytes": pa.binary(), "path": pa.string()}
    rows = [[image(b"A"), image(b"B")], [image(b"C")], [], None]
    table = pa.table({"images": pa.array(rows, pa.list_(pa.struct(struct)))})
    pq.write_table(table, tmp_path / "t.parquet")
    found = [described(r) for r in records(tmp_path / "t.parquet")]
    assert found[:2] == [[("image", b"A"), ("image", b"B")], [("image", b"C")]]
    assert found[2:] == [
        "DecodeError: column 'images' is empty",
        "DecodeError: column 'images' is null",
    ]


@pytest.mark.parametrize(
    "place",
    [{"type": "image", "text": None, "index": 0}, {"type": "text", "text": "<image>"}],
)
def test_media_beside_a_conversation_go_to_their_places(tmp_path, place):
    """As chat templates of vision models have it; nothing is left out silently."""
    question, answer = [place, {"type": "text", "text": "What?"}], [{"type": "text", "text": "A"}]
    if place["text"]:
        question, answer = "<image>What?", "A"
    talk = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    table = {"images": [[image(b"A")], [image(b"A"), image(b"B")], []], "messages": [talk] * 3}
    good, many, none = records(write_parquet(tmp_path / "t.parquet", table))
    assert [p for p in described(good) if p[0] == "image"] == [("image", b"A")]
    assert ("text", b"What?") in described(good)
    assert any(good.is_answer)
    assert "1 of 2 of kind image that stand beside" in described(many)
    if not place["text"]:
        assert "more places of kind image than the 0" in described(none)


def test_lines_of_llava(tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"X")
    talk = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A cat."}]
    lines = [{"id": "7", "image": "x.jpg", "conversations": talk}, {"conversations": talk}]
    path = tmp_path / "llava.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    with_picture, without = records(path)
    assert with_picture.id == "7"
    assert ("image", b"X") in described(with_picture)
    assert ("text", b"\nWhat?") in described(with_picture)
    # Without a picture beside it, what a user writes stays what it is.
    assert ("text", b"\n<image>\nWhat?") in described(without)


def test_a_template_names_columns(tmp_path):
    path = write_parquet(tmp_path / "t.parquet", {"image": [image(b"A")], "caption": ["a cat"]})
    (record,) = records(path, template="{image} {caption}")
    assert described(record) == [("image", b"A"), ("text", b" "), ("text", b"a cat")]


def test_a_table_with_nothing_in_it_and_garbage_are_failures(tmp_path):
    (a,) = records(write_parquet(tmp_path / "a.parquet", {"x": [1]}))
    assert "expected an Image or Audio column" in a.failure.reason
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no")
    (b,) = records(tmp_path / "b.parquet")
    assert b.failure is not None


def test_a_damaged_row_group_costs_its_own_rows(tmp_path):
    payload = [image(bytes([65 + i]) * 4000) for i in range(6)]
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"image": payload}), path, row_group_size=2, compression="zstd",
                   use_dictionary=False)  # fmt: skip
    data = bytearray(path.read_bytes())
    meta = pq.read_metadata(path).row_group(1).column(0)
    start = meta.data_page_offset
    data[start : start + meta.total_compressed_size] = b"\xff" * meta.total_compressed_size
    path.write_bytes(data)
    found = records(path)
    assert [r.failure is None for r in found] == [True, True, False, False, True, True]
    assert "row group 1 is damaged" in found[2].failure.reason


# Manifests


def test_fairseq_tsv(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"A")
    path = tmp_path / "m.tsv"
    path.write_text(f"{tmp_path}\na.wav\t16000\ngone.wav\t5\n")
    a, gone = records(path)
    assert (a.id, described(a)) == ("a.wav", [("audio", b"A")])
    with pytest.raises(FileNotFoundError, match=r"gone\.wav: no such file"):
        described(gone)


def test_tsv_and_csv_with_a_header(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"A")
    for ending, comma in (("csv", ","), ("tsv", "\t")):
        path = tmp_path / f"m.{ending}"
        path.write_text(f"id{comma}path{comma}sentence\nu1{comma}a.wav{comma}hello you\n,,x\n")
        good, bad = records(path)
        assert (good.id, good.text, described(good)) == ("u1", "hello you", [("audio", b"A")])
        assert "no path" in bad.failure.reason


def test_csv_without_paths_is_a_failure(tmp_path):
    (tmp_path / "m.csv").write_text("a,b\n1,2\n")
    (record,) = records(tmp_path / "m.csv")
    assert "expected a 'path' column" in record.failure.reason


def test_kaldi_wav_scp_runs_no_commands(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"A")
    (tmp_path / "wav.scp").write_text(
        f"utt1 {tmp_path}/a.wav\nutt2 touch {tmp_path}/pwned |\nutt3\nutt4 x.ark:12\n"
    )
    (tmp_path / "text").write_text("utt1 HELLO WORLD\n")
    found = records(tmp_path / "wav.scp")
    assert [r.id for r in found] == ["utt1", "utt2", "utt3", "utt4"]
    assert (found[0].text, described(found[0])) == ("HELLO WORLD", [("audio", b"A")])
    assert "commands are not run" in found[1].failure.reason
    assert found[2].failure is not None
    assert found[3].failure is not None
    assert not (tmp_path / "pwned").exists()


def test_nemo_and_lhotse_lines(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"A")
    recording = {"id": "r", "sources": [{"type": "file", "channels": [0], "source": "a.wav"}],
                 "duration": 2.0}  # fmt: skip
    lines = [
        {"audio_filepath": "a.wav", "text": "seven", "duration": 1.0},
        {"audio_filepath": "a.wav", "offset": 0.5, "duration": 1.0},
        recording,
        {
            "id": "c",
            "start": 0.5,
            "duration": 1.0,
            "recording": recording,
            "supervisions": [{"text": "one"}, {"text": "two"}],
        },
        {"id": "url", "sources": [{"type": "url", "source": "http://x/a.wav"}]},
        {"id": "run", "sources": [{"type": "command", "source": "cat a.wav"}]},
    ]
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    nemo, segment, whole, cut, url, command = records(path)
    assert (nemo.id, nemo.text, nemo.refs[0].start_s) == ("a.wav", "seven", None)
    assert (segment.refs[0].start_s, segment.refs[0].duration_s) == (0.5, 1.0)
    assert (whole.id, whole.refs[0].start_s) == ("r", None)
    assert (cut.id, cut.text, cut.refs[0].start_s) == ("c", "one two", 0.5)
    assert url.refs[0].place.path == "http://x/a.wav"
    assert "source is a file" in command.failure.reason


def test_lines_of_text_conversations_paths_and_garbage(tmp_path):
    (tmp_path / "a.png").write_bytes(b"A")
    chat = {
        "messages": [
            {"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "a.png"}},
                {"type": "text", "text": "What?"}]},
            {"role": "assistant", "content": "A cat."},
        ]
    }  # fmt: skip
    lines = [json.dumps(chat), '{"text": "hi", "id": 5}', '{"path": "a.png", "label": "cat"}',
             "{broken", "[1]", '{"x": 1}', '{"text": "\\ud800"}']  # fmt: skip
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(lines))
    talk, text, picture, *bad = records(path)
    assert ("image", b"A") in described(talk)
    assert any(talk.is_answer)
    assert (text.id, described(text)) == ("5", [("text", b"hi")])
    assert (picture.text, described(picture)) == ("cat", [("image", b"A")])
    assert [r.failure is not None for r in bad] == [True] * 4
    assert bad[0].id.endswith("m.jsonl:4")


def test_a_manifest_in_a_folder_is_not_read_twice(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"A")
    (tmp_path / "manifest.jsonl").write_text('{"audio_filepath": "a.wav"}\n')
    (tmp_path / "list.csv").write_text("path\na.wav\n")
    (tmp_path / "chat.jsonl").write_text('{"text": "hello"}\n')
    found = {r.id: described(r) for r in records(tmp_path)}
    assert found["a.wav"] == [("audio", b"A")]
    assert found["chat.jsonl:1"] == [("text", b"hello")]
    assert "name it as an input itself" in found["manifest.jsonl"]
    assert "name it as an input itself" in found["list.csv"]
    (named,) = records(tmp_path / "manifest.jsonl")
    assert described(named) == [("audio", b"A")]


# Data sets


@pytest.mark.parametrize("streaming", ["true", "false"])
def test_anything_that_datasets_reads(tmp_path, streaming, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "t.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    address = f"hf:json?data_files={tmp_path}/t.jsonl&streaming={streaming}"
    found = records(address)
    assert [described(r) for r in found] == [[("text", b"a")], [("text", b"b")]]
    assert [r.id for r in found] == [f"{address}#0", f"{address}#1"]


@pytest.mark.parametrize("streaming", ["true", "false"])
def test_pictures_and_lists_of_them_from_datasets(tmp_path, streaming, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    one = {"image": {"_type": "Image"}}
    many = {"images": {"feature": {"_type": "Image"}, "_type": "List"}}
    two = [image(b"A", "a.png"), image(b"B", "b.png")]
    write_parquet(tmp_path / "one.parquet", {"image": two}, one)
    write_parquet(tmp_path / "many.parquet", {"images": [two]}, many)
    write_parquet(tmp_path / "bare.parquet", {"picture": two})
    for name, wanted in (
        ("one", [[("image", b"A")], [("image", b"B")]]),
        ("many", [[("image", b"A"), ("image", b"B")]]),
        ("bare", [[("image", b"A")], [("image", b"B")]]),  # known by its struct and its name
    ):
        address = f"hf:parquet?data_files={tmp_path}/{name}.parquet&streaming={streaming}"
        assert [described(r) for r in records(address)] == wanted


def test_an_unknown_option_of_an_address_is_a_wrong_command():
    with pytest.raises(ConfigError, match=r"unknown options \['splitt'\]"):
        records("hf:json?splitt=train")


def test_slices_that_are_cut_short_are_failures_not_short_files(tmp_path):
    path = make_tar(tmp_path / "s.tar", SAMPLES[:1])
    (record,) = records(path)
    path.write_bytes(path.read_bytes()[:513])
    with pytest.raises(DecodeError, match="cut short"):
        record.refs[0].place.read()


@pytest.mark.parametrize(
    ("ending", "mode"), [(".tar", "w"), (".tar.gz", "w:gz"), (".tar.xz", "w:xz")]
)
def test_joined_tars_are_read_to_the_end(tmp_path, ending, mode):
    parts = [[("a.png", b"A"), ("a.txt", b"one")], [("b.png", b"B")], [("c.png", b"C")]]
    joined = b""
    for number, part in enumerate(parts):
        joined += make_tar(tmp_path / f"{number}.part", part, mode=mode).read_bytes()
    path = tmp_path / f"all{ending}"
    path.write_bytes(joined)
    found = records(path)
    assert [(r.id, r.text) for r in found] == [("a", "one"), ("b", None), ("c", None)]
    assert [described(r)[0] for r in found] == [("image", d) for d in (b"A", b"B", b"C")]


def test_resource_forks_of_macos_are_left_out_and_counted(tmp_path):
    members = [("._a.png", b"?"), ("a.png", b"A"), ("._a.txt", b"?"), ("a.txt", b"one"),
               ("__MACOSX/x.png", b"?"), (".DS_Store", b"?"), ("./b.png", b"B")]  # fmt: skip
    path = make_tar(tmp_path / "mac.tar", members)
    first, second = records(path)
    assert (first.id, first.text) == ("a", "one")
    assert described(second) == [("image", b"B")]
    for name, data in members:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    assert [r.id for r in records(tmp_path / "in")] == ["a.png", "a.txt", "b.png"]
    # In the folder, __MACOSX counts as one; asked for by name, what is hidden is an input.
    for typed, num_inputs, num_hidden in (
        (path, 1, 4),
        (tmp_path / "in", 3, 4),
        (tmp_path / "in" / "*", 3, 4),
        (tmp_path / "in" / "**" / "*", 3, 5),
        (tmp_path / "in" / "._*", 2, 0),
        (tmp_path / "in" / "._a.png", 1, 0),
    ):
        lister = Lister(SourceOptions())
        assert len(list(lister.entries([str(typed)]))) == num_inputs, typed
        assert lister.left_out.num_hidden == num_hidden, typed


def test_fields_that_are_not_used_are_named_once(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"A")
    lines = [
        {"audio_filepath": "a.wav", "text": "one", "lang": "en", "duration": 1},
        {"audio_filepath": "a.wav", "speaker": 3, "lang": "de"},
        {"text": "alone", "topic": "none"},
        {"messages": [{"role": "user", "content": "Hi"}], "id": 1, "origin": "x"},
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "m.csv").write_text("path,text,age\na.wav,one,7\n")
    lister = Lister(SourceOptions())
    list(lister.entries([str(tmp_path / "m.jsonl"), str(tmp_path / "m.csv")]))
    assert lister.left_out.unused_fields == ("age", "lang", "origin", "speaker", "topic")
    assert "age, lang, origin, speaker, topic" in lister.left_out.lines()[0]


def test_json_lines_in_a_json_file(tmp_path):
    """NeMo names its manifests so; a description beside a picture is none."""
    (tmp_path / "a.wav").write_bytes(b"A")
    line = json.dumps({"audio_filepath": "a.wav", "text": "one"})
    (tmp_path / "manifest.json").write_text(f"{line}\n{line}\n")
    first, second = records(tmp_path / "manifest.json")
    assert (described(first), second.text) == ([("audio", b"A")], "one")
    (tmp_path / "about.json").write_text(json.dumps({"caption": "a cat"}, indent=1))
    (tmp_path / "sidecar.json").write_text(json.dumps({"text": "a cat"}))
    reasons = {r.id: r.failure and r.failure.reason for r in records(tmp_path)}
    assert reasons["a.wav"] is None
    assert "a manifest in a folder is not followed" in reasons["manifest.json"]
    assert "unknown extension '.json'" in reasons["about.json"]
    assert "unknown extension '.json'" in reasons["sidecar.json"]
    assert "unknown extension" in described(records(tmp_path / "about.json")[0])


def test_raw_samples_are_what_was_declared(tmp_path):
    samples = [("a.pcm", bytes(8)), ("b.raw", bytes(6)), ("c.wav", b"RIFF")]
    path = make_tar(tmp_path / "x.tar", samples)
    options = SourceOptions(pcm="s16le:8000:1", max_pixels=5)
    (entry,) = Lister(options).entries([str(path)])
    refs = [r.refs[0] for r in make_source("tar", options).records(entry)]
    assert [ref.pcm for ref in refs] == ["s16le:8000:1", "s16le:8000:1", None]
    for record in records(path)[:2]:
        with pytest.raises(DecodeError, match="--pcm"):
            load(record)
    (tmp_path / "a.png").write_bytes(b"A")
    (entry,) = Lister(options).entries([str(tmp_path / "a.png")])
    (record,) = make_source("image", options).records(entry)
    assert load(record)[1] == (Image(b"A", max_pixels=5),)
    for text in ("s16le", "s16le:8000:0"):
        with pytest.raises(ConfigError, match="--pcm: expected"):
            SourceOptions(pcm=text)
    with pytest.raises(ConfigError, match="--max-pixels"):
        SourceOptions(max_pixels=0)


def test_a_part_of_a_conversation_that_is_no_picture_is_a_line_of_its_own(tmp_path):
    good = {"messages": [{"role": "user", "content": "Hi"}]}
    bad = {"messages": [{"role": "user", "content": [{"type": "image", "image": {"label": 3}}]}]}
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, (good, bad, good))))
    first, second, third = records(tmp_path / "m.jsonl")
    assert first.failure is None and third.failure is None
    assert "received ['label']" in second.failure.reason


@pytest.mark.parametrize(
    "line",
    [
        '{"recording": {"sources": 3}}',
        '{"type": ["MonoCut"], "tracks": [1]}',
        '{"type": "MixedCut", "tracks": [{"cut": {"id": 1}}]}',
        '{"sources": [{"type": "file", "source": "a.wav", "channels": 1}], "supervisions": 4}',
        '{"recording": {"sources": [{"type": "file", "source": "a.wav"}]}, "supervisions": 7}',
        '{"path": "a.wav", "channel": {"a": 1}}',
        '{"path": ["a.wav", 3], "text": {"a": [1]}, "start": [1]}',
        '{"messages": {"role": 3}}',
        '{"messages": [{"role": ["x"], "content": 4}]}',
        "[" * 100_000,
        "null",
    ],
)
def test_a_line_of_an_odd_shape_costs_itself_alone(tmp_path, line):
    (tmp_path / "m.jsonl").write_text(f'{{"text": "before"}}\n{line}\n{{"text": "after"}}\n')
    before, odd, after = records(tmp_path / "m.jsonl")
    assert described(before) == [("text", b"before")]
    assert described(after) == [("text", b"after")]
    assert odd.failure is not None or odd.refs
