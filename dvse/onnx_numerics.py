"""The numerics profile of graphs that ONNX Runtime runs: what may change a last bit there.

A profile of its own: shards record it, and a job that was begun under torch's is not continued
under this one. Threads are those of the graph, which is opened with them.
"""

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata

from dvse.errors import ConfigError
from dvse.numerics import NumericsProfile, default_workers
from dvse.onnx_tokenizer import KIND
from dvse.precision import Precision
from dvse.storage.bundle import Section
from dvse.token_budget import check_batch_tokens

_LIBRARIES = ("onnxruntime", "numpy", "pillow", "soundfile", "sentencepiece")
# By which its kernels are chosen, the widest first.
_INSTRUCTION_SETS = ("AVX512F", "AVX2", "AVX", "SVE", "ASIMD")


@dataclass(frozen=True, kw_only=True)
class OnnxProfile(NumericsProfile):
    """Device kind, threads, token budget, processor features, versions, under ONNX Runtime.

    >>> OnnxProfile.current(threads=1).precision
    'float32'
    """

    @classmethod
    def current(
        cls,
        *,
        device: str = "cpu",
        threads: int | None = None,
        precision: Precision = "float32",
        batch_tokens: int | None = None,
    ) -> "OnnxProfile":
        """Return the profile of this machine.

        Raises:
            ConfigError: fewer than one thread or token, or another precision than the graph's.
        """
        threads = default_workers() if threads is None else threads
        if threads < 1:
            raise ConfigError(f"expected at least 1 thread, received {threads}")
        if precision != "float32":
            raise ConfigError(
                f"an exported bundle computes in float32, received precision {precision}; load the "
                "bundle that it was exported from"
            )
        check_batch_tokens(batch_tokens)
        return cls(
            device=device.partition(":")[0],
            precision=precision,
            threads=threads,
            processor=_processor(),
            versions={name: metadata.version(name) for name in _LIBRARIES},
            batch_tokens=batch_tokens,
        )

    @contextmanager
    def pinned(self) -> Iterator[None]:
        """Compute under this profile: graphs were opened under it, so there is nothing to set."""
        yield

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Load graphs, which are opened later."""
        yield


def profile_of(sections: Mapping[str, Section]) -> type[NumericsProfile]:
    """Return the kind of profile under which a bundle computes, by its sections.

    >>> profile_of({"image": Section(spec={"kind": "onnx"})}).__name__
    'OnnxProfile'
    """
    media = [section.spec.get("kind") for m, section in sections.items() if m != "text"]
    return OnnxProfile if media and set(media) == {KIND} else NumericsProfile


def _processor() -> str:
    from numpy._core._multiarray_umath import __cpu_features__ as features

    found = (name for name in _INSTRUCTION_SETS if features.get(name))
    return f"{platform.machine()} {next(found, 'without vectors')}"
