"""Recordings to codes by an exported graph: the neighbour of `AudioTokenizer` without torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from dvse.audio.plan import read_plan
from dvse.audio.preparer import AudioPreparer
from dvse.audio.recording_tokenizer import RecordingTokenizer
from dvse.audio.windows import FrameGrid
from dvse.errors import BundleFormatError, ConfigError
from dvse.onnx_graph import OnnxGraph
from dvse.onnx_tokenizer import GRAPH_FILE, KIND, OnnxTokenizer, whole_numbers
from dvse.precision import Precision
from dvse.storage.spec_fields import read_fields, write_fields

_SPEC_FIELDS = {"kind", "preparer", "windows", "grid", "merge_repeats", "num_codes", "num_levels"}


class OnnxAudioTokenizer(OnnxTokenizer, RecordingTokenizer):
    """Recordings → codes `[frames, num_levels]`.

    Args:
        graph: `samples` `fp32 [N, n]` to `codes`.
        preparer: the half that decode workers run.
        merge_repeats: a run of equal codes becomes one unit with its duration.
        num_codes, num_levels: of the codebook.
    """

    input_name = "samples"

    def __init__(
        self,
        graph: OnnxGraph,
        *,
        preparer: AudioPreparer,
        merge_repeats: bool,
        num_codes: int,
        num_levels: int,
    ) -> None:
        super().__init__(graph, num_codes=num_codes, num_levels=num_levels)
        self._preparer, self.merge_repeats = preparer, merge_repeats

    def spec(self) -> dict[str, Any]:
        """Return the JSON description."""
        return onnx_spec(
            self._preparer,
            merge_repeats=self.merge_repeats,
            num_codes=self.num_codes,
            num_levels=self.num_levels,
        )

    @classmethod
    def from_spec(
        cls,
        spec: Mapping[str, Any],
        folder: Path,
        *,
        device: str = "cpu",
        precision: Precision = "float32",
        threads: int = 1,
    ) -> Self:
        """Load what `onnx_spec` described.

        Raises:
            BundleFormatError: a missing, unknown or ill-typed field.
            MissingExtraError: ONNX Runtime is not installed.
        """
        if set(spec) != _SPEC_FIELDS or type(spec["merge_repeats"]) is not bool:
            raise BundleFormatError(
                f"audio: expected fields {sorted(_SPEC_FIELDS)}, merge_repeats true or false, "
                f"received {dict(spec)}"
            )
        graph = OnnxGraph(folder / GRAPH_FILE, device=device, threads=threads)
        try:
            return cls(
                graph,
                preparer=_read_preparer(spec),
                merge_repeats=spec["merge_repeats"],
                **whole_numbers(spec, "num_codes", "num_levels"),
            )
        except (ConfigError, TypeError) as error:
            raise BundleFormatError(f"audio: {error}") from error


def onnx_spec(
    preparer: AudioPreparer, *, merge_repeats: bool, num_codes: int, num_levels: int
) -> dict[str, Any]:
    """Return the JSON description of the section of an exported bundle."""
    return {
        "kind": KIND,
        "preparer": {name: getattr(preparer, name) for name in _PLAIN_FIELDS},
        "windows": write_fields(preparer.windowing),
        "grid": write_fields(preparer.grid),
        "merge_repeats": merge_repeats,
        "num_codes": num_codes,
        "num_levels": num_levels,
    }


_PLAIN_FIELDS = ("sample_rate_hz", "max_duration_s", "pad_samples", "scale_floor")


def _read_preparer(spec: Mapping[str, Any]) -> AudioPreparer:
    return AudioPreparer(
        resampler="numpy",
        grid=read_fields(FrameGrid, spec["grid"], where="audio grid"),
        windowing=read_plan(spec["windows"]),
        **spec["preparer"],
    )
