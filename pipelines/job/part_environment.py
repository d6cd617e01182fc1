"""Which process of how many this one is, as Slurm, torchrun and Kubernetes say it.

    torchrun     RANK, WORLD_SIZE
    srun         SLURM_PROCID, SLURM_NTASKS
    Slurm array  SLURM_ARRAY_TASK_ID, _COUNT, _MIN, _STEP
    Kubernetes   JOB_COMPLETION_INDEX; how many there are stands in no variable

A task of an array that starts several processes is as many places as it has processes.
"""

from collections.abc import Mapping

from dvse.errors import ConfigError

_PROCESS = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS"))
_ARRAY = "SLURM_ARRAY_TASK_"
_KUBERNETES = "JOB_COMPLETION_INDEX"


def place_of_process(environment: Mapping[str, str]) -> tuple[int, int]:
    """Return (index from 0, count).

    Raises:
        ConfigError: the variables are not there, or do not fit each other.

    >>> place_of_process({"RANK": "3", "WORLD_SIZE": "8"})
    (3, 8)
    """
    if _KUBERNETES in environment:
        raise ConfigError(
            f"--part auto: {_KUBERNETES} says which one this is and nothing says of how many; "
            "pass --part auto/N with the job's completions"
        )
    process, array = _process(environment), _array(environment)
    if process is None and array is None:
        raise ConfigError(
            "--part auto: expected the variables of Slurm (SLURM_ARRAY_TASK_ID or SLURM_PROCID), "
            "torchrun (RANK) or Kubernetes, found none; pass --part I/N"
        )
    (inner, num_inner), (outer, num_outer) = process or (0, 1), array or (0, 1)
    return outer * num_inner + inner, num_outer * num_inner


def index_of_process(environment: Mapping[str, str]) -> int:
    """Return the index from 0, where the count is said elsewhere: a task of an array run alone.

    Raises:
        ConfigError: no variable says it.

    >>> index_of_process({"JOB_COMPLETION_INDEX": "5"})
    5
    """
    names = ("RANK", f"{_ARRAY}ID", _KUBERNETES, "SLURM_PROCID")
    name = next((name for name in names if name in environment), None)
    if name is None:
        raise ConfigError(f"--part auto/N: expected one of {', '.join(names)}, found none")
    return _number(environment, name)


def _process(environment: Mapping[str, str]) -> tuple[int, int] | None:
    for index, count in _PROCESS:
        if index in environment and count in environment:
            return _number(environment, index), _number(environment, count)
    return None


def _array(environment: Mapping[str, str]) -> tuple[int, int] | None:
    if f"{_ARRAY}ID" not in environment or f"{_ARRAY}COUNT" not in environment:
        return None
    own, count = _number(environment, f"{_ARRAY}ID"), _number(environment, f"{_ARRAY}COUNT")
    first = _number(environment, f"{_ARRAY}MIN", "0")
    index, rest = divmod(own - first, _number(environment, f"{_ARRAY}STEP", "1") or 1)
    if rest or not 0 <= index < count:
        raise ConfigError(
            f"--part auto: task {own} of an array with gaps ({count} tasks from {first} on); "
            "pass --part auto/N"
        )
    return index, count


def _number(environment: Mapping[str, str], name: str, default: str | None = None) -> int:
    value = environment.get(name, default) or ""
    if not value.isdecimal():
        raise ConfigError(f"--part auto: expected a number in {name}, received {value!r}")
    return int(value)
