"""Which source reads which kind of entry."""

from dataclasses import dataclass

from dvse.errors import ConfigError
from pipelines.settings import setting
from pipelines.sources.source import Source
from pipelines.sources.template import Template

HUB_PREFIX = "hf:"


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Options that all sources share; without a template media come first, then text."""

    template: str | None = setting(
        None, "lays out samples of tars, tables and folders: '{image}{text}'"
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
    template = options.parsed()
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
