"""ONNX Runtime's own quantized operators, written in operators of the standard.

Its quantizer gives graphs such as QLinearAdd in the domain com.microsoft, which other runtimes
lack. Each is defined here as ONNX Runtime documents it (its ContribOperators.md), and replaced by
its definition.
"""

from typing import Final

import onnx
from onnx import parser

from model_store.bundle.graph_part import nodes_of

DOMAIN: Final = "com.microsoft"
QUANTIZED_OPSET: Final = 13  # in which scales may be one for each channel


def _binary(name: str, operator: str) -> str:
    return f"""{name} (a, a_scale, a_zero, b, b_scale, b_zero, c_scale, c_zero) => (c) {{
        real_a = DequantizeLinear (a, a_scale, a_zero)
        real_b = DequantizeLinear (b, b_scale, b_zero)
        real_c = {operator} (real_a, real_b)
        c = QuantizeLinear (real_c, c_scale, c_zero)
    }}"""


def _unary(name: str, body: str, attributes: str = "") -> str:
    return f"""{name} {attributes} (x, x_scale, x_zero, y_scale, y_zero) => (y) {{
        real_x = DequantizeLinear (x, x_scale, x_zero)
        {body}
        y = QuantizeLinear (real_y, y_scale, y_zero)
    }}"""


_DEFINITIONS: Final = {
    "QLinearAdd": _binary("QLinearAdd", "Add"),
    "QLinearMul": _binary("QLinearMul", "Mul"),
    "QLinearSigmoid": _unary("QLinearSigmoid", "real_y = Sigmoid (real_x)"),
    "QLinearLeakyRelu": _unary(
        "QLinearLeakyRelu", "real_y = LeakyRelu <alpha: float = @alpha> (real_x)", "<alpha>"
    ),
    "QLinearGlobalAveragePool": _unary(
        "QLinearGlobalAveragePool", "real_y = GlobalAveragePool (real_x)"
    ),
    "QLinearAveragePool": _unary(
        "QLinearAveragePool",
        "real_y = AveragePool <kernel_shape: ints = @kernel_shape, strides: ints = @strides, "
        "pads: ints = @pads, ceil_mode: int = @ceil_mode, count_include_pad: int = "
        "@count_include_pad, auto_pad: string = @auto_pad> (real_x)",
        "<kernel_shape, strides, pads, ceil_mode, count_include_pad, auto_pad>",
    ),
    "QLinearSoftmax": _unary(
        "QLinearSoftmax", "real_y = Softmax <axis: int = @axis> (real_x)", "<axis>"
    ),
    "QGemm": """QGemm <alpha, transA, transB>
    (a, a_scale, a_zero, b, b_scale, b_zero, c, y_scale, y_zero) => (y) {
        real_a = DequantizeLinear (a, a_scale, a_zero)
        real_b = DequantizeLinear <axis: int = 0> (b, b_scale, b_zero)
        scale = Mul (a_scale, b_scale)
        whole_c = Cast <to = 1> (c)
        real_c = Mul (whole_c, scale)
        real_y = Gemm <alpha: float = @alpha, transA: int = @transA, transB: int = @transB>
                 (real_a, real_b, real_c)
        y = QuantizeLinear (real_y, y_scale, y_zero)
    }""",
    "DynamicQuantizeMatMul": """DynamicQuantizeMatMul (a, b, b_scale, b_zero) => (y) {
        whole_a, a_scale, a_zero = DynamicQuantizeLinear (a)
        whole_y = MatMulInteger (whole_a, b, a_zero, b_zero)
        number_y = Cast <to = 1> (whole_y)
        scale = Mul (a_scale, b_scale)
        y = Mul (number_y, scale)
    }""",
    "MatMulIntegerToFloat": """MatMulIntegerToFloat
    (a, b, a_scale, b_scale, a_zero, b_zero) => (y) {
        whole_y = MatMulInteger (a, b, a_zero, b_zero)
        number_y = Cast <to = 1> (whole_y)
        scale = Mul (a_scale, b_scale)
        y = Mul (number_y, scale)
    }""",
}
EXPANDED: Final = frozenset(f"{DOMAIN}.{name}" for name in _DEFINITIONS)


def define(model: onnx.ModelProto) -> None:
    """Add the definitions that the model uses to its functions."""
    used = {node.op_type for node in nodes_of(model) if node.domain == DOMAIN} & set(_DEFINITIONS)
    opset = next(
        (each.version for each in model.opset_import if each.domain in ("", "ai.onnx")),
        QUANTIZED_OPSET,
    )
    head = f'<opset_import: ["" : {opset}], domain: "{DOMAIN}">'
    model.functions.extend(
        parser.parse_function(head + _DEFINITIONS[name]) for name in sorted(used)
    )
