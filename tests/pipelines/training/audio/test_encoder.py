"""The shape of the shipped encoder."""

from dvse.audio.windows import FrameGrid
from pipelines.training.audio.encoder import (
    tiny_encoder_config,
)


def test_the_shipped_shape() -> None:
    config = tiny_encoder_config()
    grid = FrameGrid.of(config.conv_kernel, config.conv_stride)
    assert (grid.stride, grid.reach) == (160, 288)  # 50 frames a second at 8 kHz
