"""TensorRT engines from an export to ONNX: the bounds of every input, and the builder.

Not run: it takes the card that an engine is built for. What can be shown without one is that each
graph takes all three corners of its bounds, and that is tested in ONNX Runtime. Whoever wants no
files of their own lets ONNX Runtime build engines as it goes (`--device cuda`, `dvse.onnx_graph`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvse.errors import BundleFormatError, ConfigError, MissingExtraError
from dvse.onnx_tokenizer import GRAPH_FILE, KIND
from dvse.storage.bundle import Bundle
from dvse.tokenizer import Tokenizer, load
from model.graph.onnx_decoder import OnnxDecoderConfig
from pipelines.answering.model_folders import CONFIG, GRAPH, find_model_or_bundle
from pipelines.runtimes.engine_settings import EngineSettings
from pipelines.runtimes.source import read_config, refuse_experts


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Smallest, usual and largest shape of an input."""

    smallest: tuple[int, ...]
    usual: tuple[int, ...]
    largest: tuple[int, ...]


def engine_bounds(export: Path, settings: EngineSettings) -> dict[str, dict[str, Bounds]]:
    """Return the bounds of each input of each graph, by the graph's name in the export.

    Raises:
        BundleError: no such bundle or model.
        ConfigError: no export to ONNX there, or one whose decoder has experts.
    """
    _check_export(export)
    tokenizer = load(export)
    found: dict[str, dict[str, Bounds]] = {}
    if tokenizer.image is not None:
        found[f"image/{GRAPH_FILE}"] = _picture_bounds(tokenizer, settings.batch)
    if tokenizer.audio is not None:
        found[f"audio/{GRAPH_FILE}"] = _recording_bounds(tokenizer, settings.batch)
    if (export / GRAPH).is_file():
        config = OnnxDecoderConfig.read(export / "config.json")
        found[GRAPH] = _decoder_bounds(config, settings)
    return found


def build_engines(
    export: Path,
    output: Path,
    settings: EngineSettings,
    *,
    note: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Build an engine of each graph for the card of this machine, and return their files.

    Raises:
        MissingExtraError: TensorRT is not installed.
        BundleError: no such bundle or model, or a graph that TensorRT refuses.
        ConfigError: no export to ONNX there, or one whose decoder has experts.
    """
    bounds = engine_bounds(export, settings)
    try:
        import tensorrt
    except ImportError as error:
        raise MissingExtraError(
            "engines are built by TensorRT, which is not installed; pip install tensorrt on the "
            "machine with the card"
        ) from error
    paths = []
    for name, inputs in bounds.items():
        note(f"{name}: building")
        path = output / Path(name).with_suffix(".engine")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_built(tensorrt, export / name, inputs, half=settings.half))
        paths.append(path)
    return paths


def _check_export(export: Path) -> None:
    """Refuse, before a graph is opened, what no engine is made of."""
    folder, folders = find_model_or_bundle(export)
    if folders is not None:
        is_export = folders.is_exported
    else:
        is_export = KIND in [one.spec.get("kind") for one in Bundle.open(folder).sections.values()]
    if not is_export:
        raise ConfigError(
            f"{export}: expected what dvse export onnx wrote, received a model or bundle for torch"
        )
    if folders is not None:
        refuse_experts(export, read_config(folders.decoder / CONFIG), "TensorRT")


def _built(trt: Any, path: Path, inputs: Mapping[str, Bounds], *, half: bool) -> bytes:
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(path)):
        reasons = "; ".join(str(parser.get_error(n)) for n in range(parser.num_errors))
        raise BundleFormatError(f"{path}: TensorRT {trt.__version__} refuses it; {reasons:.300}")
    config = builder.create_builder_config()
    if half:
        config.set_flag(trt.BuilderFlag.FP16)
    profile = builder.create_optimization_profile()
    for name, bounds in inputs.items():
        profile.set_shape(name, bounds.smallest, bounds.usual, bounds.largest)
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise BundleFormatError(f"{path}: TensorRT {trt.__version__} could not build an engine")
    return bytes(engine)


def _picture_bounds(tokenizer: Tokenizer, batch: int) -> dict[str, Bounds]:
    assert tokenizer.image is not None
    geometry = tokenizer.image.preparer.geometry
    patch = geometry.patch_size
    usual, wide, high = (geometry.place(*size).grid for size in ((500, 500), (999, 9), (9, 999)))
    if geometry.fixed_grid is not None:
        smallest = largest = geometry.fixed_grid
    else:
        smallest, largest = (1, 1), (max(wide[0], high[0], usual[0]), max(wide[1], high[1]))
        largest = (largest[0], max(largest[1], usual[1]))

    def pixels(rows: int, grid: tuple[int, int]) -> tuple[int, ...]:
        return rows, grid[0] * patch, grid[1] * patch, 3

    return {
        "pixels": Bounds(
            smallest=pixels(1, smallest), usual=pixels(1, usual), largest=pixels(batch, largest)
        )
    }


def _recording_bounds(tokenizer: Tokenizer, batch: int) -> dict[str, Bounds]:
    assert tokenizer.audio is not None
    preparer = tokenizer.audio.preparer
    full = preparer.windowing.full_samples(preparer.grid)
    return {
        "samples": Bounds(
            smallest=(1, preparer.grid.num_samples(1)), usual=(1, full), largest=(batch, full)
        )
    }


def _decoder_bounds(config: OnnxDecoderConfig, settings: EngineSettings) -> dict[str, Bounds]:
    context = min(settings.context, config.max_position_embeddings)
    prompt = min(settings.prompt, context)
    corners = (  # rows, new tokens, tokens in the cache
        (1, 1, 0),
        (1, 1, context // 2),
        (settings.batch, prompt, context - prompt),
    )
    heads, size = config.num_key_value_heads, config.head_dim

    def bounds(shape: Callable[[int, int, int], tuple[int, ...]]) -> Bounds:
        smallest, usual, largest = (shape(*corner) for corner in corners)
        return Bounds(smallest=smallest, usual=usual, largest=largest)

    found = {
        "input_ids": bounds(lambda rows, new, past: (rows, new)),
        "attention_mask": bounds(lambda rows, new, past: (rows, new + past)),
        "position_ids": bounds(lambda rows, new, past: (rows, new)),
    }
    for number in range(config.num_hidden_layers):
        for part in ("key", "value"):
            name = f"past_key_values.{number}.{part}"
            found[name] = bounds(lambda rows, new, past: (rows, heads, past, size))
    return found
