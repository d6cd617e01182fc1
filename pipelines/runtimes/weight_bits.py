"""Weights of a graph in 8 or 4 bits, by ONNX Runtime's own quantizer.

Only weights: activations stay fp32 between products, and each group of weights has a scale of its
own (round to nearest). Head, gates and routers stay as they are, as `dvse quantize` leaves them.
"""

from typing import TYPE_CHECKING

from pipelines.runtimes.tracing import scope_of

if TYPE_CHECKING:
    import onnx

_WHOLE = (".lm_head", ".token_gate", ".mlp.gate")
_GROUP = 32


def with_bits(model: "onnx.ModelProto", bits: int) -> "onnx.ModelProto":
    """Return the model with its products' weights in so many bits.

    Args:
        model: as `traced` gives it.
        bits: 8 or 4.
    """
    from onnxruntime.quantization.matmul_nbits_quantizer import (
        DefaultWeightOnlyQuantConfig,
        MatMulNBitsQuantizer,
    )

    weights = {tensor.name for tensor in model.graph.initializer}
    kept = [
        node.name
        for node in model.graph.node
        if node.op_type == "MatMul"
        and (node.input[1] not in weights or scope_of(node).endswith(_WHOLE))
    ]
    quantizer = MatMulNBitsQuantizer(
        model,
        nodes_to_exclude=kept,
        algo_config=DefaultWeightOnlyQuantConfig(
            block_size=_GROUP, is_symmetric=True, accuracy_level=1, bits=bits
        ),
    )
    quantizer.process()
    return quantizer.model.model
