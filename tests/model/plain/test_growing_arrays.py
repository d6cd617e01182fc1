"""Arrays with room hold what concatenation holds."""

import pytest
import torch

from model.plain.growing_arrays import GrowingArrays


@pytest.mark.parametrize("lengths", [[1] * 200, [5] + [1] * 80, [3, 4, 1, 70, 1]])
def test_as_concatenation(lengths):
    arrays, seen = GrowingArrays(), torch.zeros(2, 3, 0, 4)
    for n in lengths:
        step = torch.randn(2, 3, n, 4)
        seen = torch.cat((seen, step), dim=2)
        keys, values = arrays.append(step, -step)
        assert torch.equal(keys, seen) and torch.equal(values, -seen)
    assert arrays.length == sum(lengths)


def test_no_copy_while_there_is_room():
    arrays = GrowingArrays()
    for n in (4, 1):
        keys, _ = arrays.append(*[torch.randn(1, 1, n, 2)] * 2)
    for _ in range(10):
        assert arrays.append(*[torch.randn(1, 1, 1, 2)] * 2)[0].data_ptr() == keys.data_ptr()
