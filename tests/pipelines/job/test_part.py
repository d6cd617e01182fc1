"""Parts of a job: which partitions are whose, and what Slurm, torchrun and Kubernetes say."""

import pytest

from dvse.errors import ConfigError
from pipelines.job.part import Part


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("num_partitions", [0, 1, 5, 64, 1001])
def test_shares_are_everything_once_and_nearly_equal(count, num_partitions):
    shares = [Part(number=n, count=count).share(num_partitions) for n in range(1, count + 1)]
    assert [p for share in shares for p in share] == list(range(num_partitions))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


ARRAY = {"SLURM_ARRAY_TASK_ID": "12", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "10"}


@pytest.mark.parametrize(
    ("environment", "part"),
    [
        ({"RANK": "0", "WORLD_SIZE": "2"}, "1/2"),
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "4"}, "4/4"),
        ({"RANK": "1", "WORLD_SIZE": "2", "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, "2/2"),
        (ARRAY, "3/4"),
        (ARRAY | {"SLURM_ARRAY_TASK_STEP": "2"}, "2/4"),
        (ARRAY | {"SLURM_PROCID": "1", "SLURM_NTASKS": "8"}, "18/32"),
        # A task of an array started again alone is all of it: whatever is left is its own.
        (
            {f"SLURM_ARRAY_TASK_{k}": v for k, v in (("ID", "5"), ("COUNT", "1"), ("MIN", "5"))},
            "1/1",
        ),
    ],
)
def test_auto_takes_both_numbers_from_the_environment(environment, part):
    assert str(Part.parse("auto", environment)) == part


@pytest.mark.parametrize(
    "environment",
    [
        {"RANK": "5"},
        {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_COUNT": "1"},
        {"JOB_COMPLETION_INDEX": "5"},
        {"SLURM_PROCID": "5"},
    ],
)
def test_auto_of_a_count_takes_the_index_alone(environment):
    assert str(Part.parse("auto/8", environment)) == "6/8"


@pytest.mark.parametrize(
    ("text", "environment", "words"),
    [
        ("auto", {}, "pass --part I/N"),
        ("auto", {"JOB_COMPLETION_INDEX": "0"}, "pass --part auto/N"),
        ("auto/2", {}, "found none"),
        ("auto/2", {"RANK": "2"}, "from 1 to 2, received 3"),
        ("auto", {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "3"}, "array with gaps"),
        ("auto", {"RANK": "one", "WORLD_SIZE": "2"}, "a number in RANK, received 'one'"),
        ("0/2", {}, "from 1 to 2"),
        ("3/2", {}, "from 1 to 2"),
        ("1/0", {}, "from 1 to 0"),
        ("2", {}, "expected I/N"),
        ("1/two", {}, "expected I/N"),
        ("-1/2", {}, "expected I/N"),
        ("", {}, "expected I/N"),
    ],
)
def test_what_is_no_part_is_refused_with_the_way_out(text, environment, words):
    with pytest.raises(ConfigError, match=words):
        Part.parse(text, environment)
