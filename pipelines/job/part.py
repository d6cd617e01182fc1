"""A part of a job that several machines share: one of N, and which partitions are its own.

Its share is a run of partitions side by side, so that it reads each container once. It depends on
N and on the number of partitions alone: parts agree on it without speaking to each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dvse.errors import ConfigError
from pipelines.job.part_environment import index_of_process, place_of_process

AUTO = "auto"


@dataclass(frozen=True, kw_only=True, order=True)
class Part:
    """Part `number` of `count`, counted from 1.

    >>> part = Part.parse("2/3")
    >>> str(part), part.share(10)
    ('2/3', range(3, 6))
    """

    count: int
    number: int

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str] | None = None) -> "Part":
        """Read `I/N`, `auto`, or `auto/N`, where only I comes from the environment.

        Args:
            text: what the user gave.
            environment: variables of Slurm, torchrun or Kubernetes, for `auto`.

        Raises:
            ConfigError: neither of these, or I is not among 1 to N.
        """
        first, slash, second = text.partition("/")
        environment = environment or {}
        if text == AUTO:
            index, count = place_of_process(environment)
            return cls(count=count, number=index + 1)
        if not (slash and second.isdecimal() and (first == AUTO or first.isdecimal())):
            raise ConfigError(f"--part: expected I/N, auto or auto/N, received {text!r}")
        number = index_of_process(environment) + 1 if first == AUTO else int(first)
        return cls(count=int(second), number=number)

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ConfigError(
                f"--part: expected a number from 1 to {self.count}, received {self.number}"
            )

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def others(self) -> "tuple[Part, ...]":
        """Return the other parts of the same N."""
        numbers = range(1, self.count + 1)
        return tuple(Part(count=self.count, number=n) for n in numbers if n != self.number)

    def share(self, num_partitions: int) -> range:
        """Return the partitions that are its own, of so many."""
        first = num_partitions * (self.number - 1) // self.count
        return range(first, num_partitions * self.number // self.count)
