"""Near hashes are found as a search through all of them finds them, in memory that has a bound."""

import os
import pickle
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.filtering.near_hashes import BITS, NearHash, NearHashes

# Few bits that differ from one of two hashes: random ones would never be near each other.
hashes = st.builds(
    lambda base, turned: base ^ sum(1 << bit for bit in set(turned)),
    st.sampled_from([0, 0xFEDCBA9876543210]),
    st.lists(st.integers(0, BITS - 1), max_size=9),
)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 15), st.lists(hashes, max_size=12), st.lists(hashes, max_size=6))
def test_as_a_search_through_all_finds_them(most_bits, known, asked):
    table = NearHashes(most_bits=most_bits)
    for number, hash in enumerate(known):
        table.add(hash, f"picture {number}")
    for hash in asked:
        near = [((hash ^ other).bit_count(), n) for n, other in enumerate(known)]
        distance, first = min(near, default=(BITS + 1, 0))
        expected = None
        if distance <= most_bits:
            expected = NearHash(distance=distance, name=f"picture {first}")
        assert table.nearest(hash) == expected


def test_it_goes_to_other_processes_empty():
    table = NearHashes(most_bits=4)
    table.add(1, "a")
    assert pickle.loads(pickle.dumps(table)).nearest(1) is None
    assert table.nearest(1) == NearHash(distance=0, name="a")


_GROWING = """
import random, resource
from pipelines.filtering.near_hashes import NearHashes
draw, table = random.Random(0), NearHashes(most_bits=4, cache_mib=4)
def grow(count):
    for number in range(count):
        table.add(draw.getrandbits(64), f"folder/picture-{number:09d}.jpg")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
first = draw.getrandbits(64)
table.add(first, "the first")
print(grow(50_000), grow(70_000))
assert table.nearest(first ^ 0b1001).name == "the first"
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_pictures():
    """Of 120,000 as much as of 50,000, which are more than the cache holds."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-c", _GROWING]
    told = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    some, more = map(int, told.stdout.split())
    assert more <= some + 1, "MiB"
