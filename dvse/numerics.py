"""The numerics profile: all that may change the last bits of a feature besides the bytes of a file.

Two runs with equal profiles give equal tokens. The profile is pinned while an encoder runs and
written into every token shard, so that a job is not continued under another one unnoticed. torch is
imported where it is asked or set, for a command that only counts processors needs none.
"""

import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any

from dvse.errors import ConfigError
from dvse.float32_products import float32_products
from dvse.precision import Precision, check_precision
from dvse.token_budget import check_batch_tokens
from dvse.waiting_threads import waiting_asleep

_LIBRARIES = (
    "torch",
    "torchaudio",
    "timm",
    "transformers",
    "numpy",
    "pillow",
    "soundfile",
    "sentencepiece",
)


@dataclass(frozen=True, kw_only=True)
class NumericsProfile:
    """Device kind, precision, threads, token budget, processor features and library versions.

    Attributes:
        device: `cpu` or `cuda`.
        precision: what encoders compute in, see `dvse.precision`.
        threads: intra-op threads of one encoder.
        processor: instruction set on a CPU (`x86_64 AVX2`), name of the GPU on CUDA.
        versions: installed versions of the libraries that compute.
        batch_tokens: the most tokens of a forward pass, where somebody chose it (see
            `dvse.token_budget`); `None` leaves it to the tokenizer, and is not written down.

    >>> profile = NumericsProfile.current(threads=1)
    >>> profile.differences(NumericsProfile.current(threads=2))
    ['threads: 1 here, 2 there']
    """

    device: str
    precision: str
    threads: int
    processor: str
    versions: Mapping[str, str] = field(default_factory=dict)
    batch_tokens: int | None = None

    @classmethod
    def current(
        cls,
        *,
        device: str = "cpu",
        threads: int | None = None,
        precision: Precision = "float32",
        batch_tokens: int | None = None,
    ) -> "NumericsProfile":
        """Return the profile of this machine.

        Args:
            device: `cpu`, `cuda` or `cuda:N`.
            threads: intra-op threads; by default the processors this process may use.
            precision: what encoders compute in.
            batch_tokens: the most tokens of a forward pass; by default the tokenizers decide.

        Raises:
            ConfigError: no such device here, fewer than one thread or token, or a precision that
                the device cannot compute.
        """
        threads = _usable_processors() if threads is None else threads
        if threads < 1:
            raise ConfigError(f"expected at least 1 thread, received {threads}")
        processor = _processor(device)
        check_precision(precision, device)
        check_batch_tokens(batch_tokens)
        return cls(
            device=device.partition(":")[0],
            precision=precision,
            threads=threads,
            processor=processor,
            versions={name: metadata.version(name) for name in _LIBRARIES},
            batch_tokens=batch_tokens,
        )

    @contextmanager
    def pinned(self) -> Iterator[None]:
        """Compute under this profile, whatever the caller has set, and put that back afterwards.

        Its threads, full fp32 products (no TF32 unless it is the profile's precision, no autocast),
        convolutions that are chosen by shape and not by a race between algorithms, no gradients.
        Threads wait as in the processes of a job, see `dvse.waiting_threads`.
        """
        import torch

        threads = self.threads if self.device == "cpu" else 1
        with (
            float32_products("high" if self.precision == "tf32" else "highest"),
            waiting_asleep(threads, _usable_processors()),
            use_threads(self.threads),
            exact_convolutions(self.precision),
            _sums_in_fp32(),
            torch.autocast(self.device, enabled=False),
            torch.inference_mode(),
        ):
            yield

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Load weights: hundreds of tiny operations, for each of which waking threads is slow."""
        with use_threads(1):
            yield

    def differences(self, other: "NumericsProfile") -> list[str]:
        """Return a line for each field that differs; empty means equal tokens."""
        mine, theirs = (_flat(p.to_dict()) for p in (self, other))
        return [
            f"{name}: {mine.get(name, 'missing')} here, {theirs.get(name, 'missing')} there"
            for name in sorted(mine.keys() | theirs.keys())
            if mine.get(name) != theirs.get(name)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, without a token budget that nobody chose, as it always was."""
        document = asdict(self)
        if self.batch_tokens is None:
            del document["batch_tokens"]
        return document

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "NumericsProfile":
        """Read the JSON form.

        Raises:
            ConfigError: missing or unknown fields.
        """
        try:
            return cls(**todays_names(document))
        except TypeError as error:
            raise ConfigError(f"not a numerics profile: {error}") from None


def todays_names(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON form of a profile with the names of today; `precision` was `dtype` once.

    >>> todays_names({"device": "cpu", "dtype": "float32"})
    {'device': 'cpu', 'precision': 'float32'}
    """
    return {"precision" if name == "dtype" else name: value for name, value in document.items()}


@contextmanager
def exact_convolutions(precision: str = "float32") -> Iterator[None]:
    """On CUDA: no race for the fastest kernel, which could change between runs; TF32 if asked."""
    import torch

    with torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=precision == "tf32"
    ):
        yield


@contextmanager
def _sums_in_fp32() -> Iterator[None]:
    """On CUDA: products of 16 bits are never summed in 16 bits, whatever the caller has set."""
    import torch

    products = torch.backends.cuda.matmul
    names = ("allow_bf16_reduced_precision_reduction", "allow_fp16_reduced_precision_reduction")
    before = [getattr(products, name) for name in names]
    try:
        for name in names:
            setattr(products, name, False)
        yield
    finally:
        for name, value in zip(names, before, strict=True):
            setattr(products, name, value)


@contextmanager
def use_threads(threads: int) -> Iterator[None]:
    """Let torch use so many intra-op threads for a while."""
    import torch

    before = torch.get_num_threads()
    if before == threads:
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _processor(device: str) -> str:
    """What computes: the instruction set of the CPU, or the name of the GPU."""
    import torch

    kind, _, index = device.partition(":")
    if kind == "cpu" and not index:
        return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    if kind != "cuda" or (index and not index.isdecimal()):
        raise ConfigError(f"expected device cpu, cuda or cuda:N, received {device!r}")
    if int(index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device {device}: torch finds {torch.cuda.device_count()} CUDA devices here; use cpu"
        )
    return torch.cuda.get_device_name(device)


def _usable_processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    versions = document["versions"]
    return {k: v for k, v in document.items() if k != "versions"} | dict(versions)


def default_workers() -> int:
    """Return the number of decode workers where none is given: the usable processors."""
    return _usable_processors()
