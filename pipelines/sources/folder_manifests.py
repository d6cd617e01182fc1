"""Manifests that belong to their folder: `metadata.csv` of imagefolder, `wav.scp` of Kaldi.

`datasets` reads a folder of pictures or recordings with a `metadata.csv`, `.jsonl` or `.parquet`
whose `file_name` says which file a caption or label is of; a Kaldi directory is its `wav.scp`. Such
a manifest is followed, and the files that it names are no inputs of their own.
"""

from collections.abc import Iterable, Set

from dvse.remote.address import normalized
from pipelines.sources.record import Record

_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_KALDI = "wav.scp"
_BESIDE_KALDI = frozenset(
    ("text", "segments", "utt2spk", "spk2utt", "spk2gender", "utt2dur", "utt2num_frames",
     "reco2dur", "reco2file_and_channel", "feats.scp", "cmvn.scp", "utt2lang", "frame_shift")
)  # fmt: skip


def folder_manifests(names: Set[str]) -> list[str]:
    """Return the manifests among the names in a folder.

    >>> folder_manifests({"a.png", "metadata.csv"})
    ['metadata.csv']
    """
    return [name for name in (*_METADATA, _KALDI) if name in names]


def described_by(manifest: str, names: Set[str]) -> Set[str]:
    """Return the names in a folder that are parts of a manifest."""
    return names & _BESIDE_KALDI if manifest == _KALDI else frozenset()


def files_of(records: Iterable[Record]) -> set[str]:
    """Return the paths of the media that records name."""
    return {
        normalized(file) for record in records for ref in record.refs for file in ref.place.files
    }
