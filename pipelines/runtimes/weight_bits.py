"""Weights of a graph in 8 or 4 bits, by ONNX Runtime's own quantizer.

Only weights: activations stay fp32 between products, and each group of weights has a scale of its
own (round to nearest). Head, gates and routers stay as they are, as `dvse quantize` leaves them.
"""

import logging
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

    # It says of each of hundreds of nodes that it passes over it.
    logging.getLogger(MatMulNBitsQuantizer.__module__).setLevel(logging.WARNING)
    _unfold_products(model)
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


def _unfold_products(model: "onnx.ModelProto") -> None:
    """Turn `Gemm` without a bias into `MatMul`, in place: the quantizer looks at that alone.

    Gated FFNs and experts work on rows of their own, of which the exporter makes a `Gemm`.
    """
    from onnx import numpy_helper

    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        turned = {a.name: a.i for a in node.attribute if a.name in ("transA", "transB")}
        is_plain = node.op_type == "Gemm" and len(node.input) == 2 and not turned.get("transA")
        if not is_plain or node.input[1] not in weights or scope_of(node).endswith(_WHOLE):
            continue
        if turned.get("transB"):
            name = f"{node.input[1]}_turned"
            matrix = numpy_helper.to_array(weights[node.input[1]]).T
            model.graph.initializer.append(numpy_helper.from_array(matrix.copy(), name))
            node.input[1] = name
        node.op_type = "MatMul"
        del node.attribute[:]
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
