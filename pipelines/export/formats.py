"""The formats by name."""

from dvse.errors import ConfigError
from pipelines.export.energon import EnergonFormat
from pipelines.export.format import ExportFormat
from pipelines.export.hugging_face import HuggingFaceFormat
from pipelines.export.litdata import LitDataFormat
from pipelines.export.mds import MdsFormat
from pipelines.export.megatron import MegatronFormat
from pipelines.export.nanotron import NanotronFormat
from pipelines.export.webdataset import WebDatasetFormat

FORMATS: dict[str, type[ExportFormat]] = {
    kind.name: kind
    for kind in (
        MegatronFormat,
        WebDatasetFormat,
        MdsFormat,
        EnergonFormat,
        NanotronFormat,
        LitDataFormat,
        HuggingFaceFormat,
    )
}


def find_format(name: str) -> ExportFormat:
    """Return the format of a name.

    Raises:
        ConfigError: there is none.

    >>> find_format("mds").name
    'mds'
    """
    if name not in FORMATS:
        raise ConfigError(f"expected a format of {', '.join(FORMATS)}, received {name!r}")
    return FORMATS[name]()
