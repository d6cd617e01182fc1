"""Which source reads which kind of entry."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from dvse.audio.pcm_format import PcmFormat
from dvse.errors import ConfigError
from pipelines.settings import setting
from pipelines.sources.declared import DeclaredSource
from pipelines.sources.source import Source
from pipelines.sources.template import Template

HUB_PREFIX = "hf:"


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Options that all sources share; without a template media come first, then text."""

    template: str | None = setting(
        None, "lays out samples of tars, tables and folders: '{image}{text}'"
    )
    pcm: str | None = setting(
        None,
        "what raw samples without a header (.pcm, .raw) are, such as s16le:16000:1",
        metavar="ENCODING:RATE:CHANNELS",
    )
    max_pixels: int | None = setting(
        None, "take pictures of up to so many pixels (default: the bundle's limit, 100 million)"
    )

    def __post_init__(self) -> None:
        if self.max_pixels is not None and self.max_pixels < 1:
            raise ConfigError(f"--max-pixels: expected at least 1, received {self.max_pixels}")
        if self.pcm is not None:
            try:
                PcmFormat.parse(self.pcm)
            except ConfigError as error:
                raise ConfigError(f"--pcm: {error}") from None

    def identity(self) -> dict[str, str | None]:
        """Return what two runs must share to be one job: what decides over tokens."""
        return {"template": self.template} | ({} if self.pcm is None else {"pcm": self.pcm})

    def notes(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a job writes down besides, given what it wrote down before."""
        limits = [n for n in (before.get("max_pixels"), self.max_pixels) if n is not None]
        return {"max_pixels": max(limits)} if limits else {}

    @classmethod
    def of_job(cls, job: Mapping[str, Any]) -> Self:
        """Return the options of a job from what it wrote down."""
        identity = job["identity"]
        return cls(
            template=identity.get("template"),
            pcm=identity.get("pcm"),
            max_pixels=job.get("max_pixels"),
        )

    def parsed(self) -> Template | None:
        """Return the parsed template.

        Raises:
            ConfigError: it is none.
        """
        return None if self.template is None else Template.parse(self.template)


def make_source(kind: str, options: SourceOptions) -> Source:
    """Return the source of a kind; its libraries are imported here, when they are needed.

    Raises:
        ConfigError: an unknown kind, or a template that is none.
    """
    source = _made(kind, options.parsed())
    if options.pcm is None and options.max_pixels is None:
        return source
    return DeclaredSource(source, pcm=options.pcm, max_pixels=options.max_pixels)


def _made(kind: str, template: Template | None) -> Source:
    match kind:
        case "image" | "audio" | "text":
            from pipelines.sources.files import FileSource

            return FileSource()
        case "group" if template is not None:
            from pipelines.sources.files import GroupSource

            return GroupSource(template)
        case "failure" | "unopened":
            from pipelines.sources.files import FailureSource

            return FailureSource()
        case "tar":
            from pipelines.sources.tars import TarSource

            return TarSource(template)
        case "parquet":
            from pipelines.sources.parquet import ParquetSource

            return ParquetSource(template)
        case "arrow":
            from pipelines.sources.arrow_files import ArrowSource

            return ArrowSource(template)
        case "jsonl":
            from pipelines.sources.json_lines import JsonLinesSource

            return JsonLinesSource()
        case "csv" | "tsv":
            from pipelines.sources.delimited import DelimitedSource

            return DelimitedSource()
        case "kaldi":
            from pipelines.sources.kaldi import KaldiSource

            return KaldiSource()
        case "hub":
            from pipelines.sources.hub import HubSource

            return HubSource(template)
    raise ConfigError(f"expected a kind of source, received {kind!r}")
