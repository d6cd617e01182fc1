"""Whoever is inside last has a say, and the process gets back what it had set."""

import pytest
import torch

from dvse.float32_products import float32_products


@pytest.mark.parametrize("given", ["medium", "high", "highest"])
def test_orders_of_leaving(given):
    now = torch.get_float32_matmul_precision
    before = now()
    torch.set_float32_matmul_precision(given)
    try:
        one, other = float32_products("high"), float32_products("highest")
        one.__enter__()
        other.__enter__()
        assert now() == "highest"
        other.__exit__(None, None, None)
        assert now() == "high"  # the one that is still inside
        other = float32_products("highest")
        other.__enter__()
        one.__exit__(None, None, None)
        assert now() == "highest"
        other.__exit__(None, None, None)
        assert now() == given
    finally:
        torch.set_float32_matmul_precision(before)
