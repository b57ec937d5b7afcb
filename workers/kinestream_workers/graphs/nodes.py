"""Writing an ONNX graph as arithmetic: `(x * x + y * y < 9.0).floats()` adds those operators to a graph.

Not for: what the test card's graph computes (see reading.py), or for running graphs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# ONNX's numbers for element types (TensorProto.DataType), so that only build.py needs the package `onnx`.
_FLOAT, _INT64 = 1, 7


@dataclass(frozen=True, slots=True)
class Node:
    """One operator: the names of what goes in and comes out, and its attributes."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


class Nodes:
    """The operators and constants of a graph under construction, in the order in which they are asked for."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.constants: dict[str, NDArray[Any]] = {}

    def value(self, name: str, kind: type = np.float32) -> Value:
        """A value that exists under that name: an input."""
        return Value(self, name, kind)

    def floats(self, value: ArrayLike) -> Value:
        """A constant of float32, a scalar or an array."""
        return self._constant(np.array(value, np.float32))

    def ints(self, value: ArrayLike) -> Value:
        """A constant of int64, a scalar or an array."""
        return self._constant(np.array(value, np.int64))

    def call(
        self, operator: str, *inputs: Value, kind: type | None = None, name: str = "", **attributes: Any
    ) -> Value:
        """One operator's output. Its `kind` is the first input's unless said otherwise."""
        output = name or f"{operator.lower()}{len(self.nodes)}"
        names = tuple(value.name for value in inputs)
        self.nodes.append(Node(operator, names, (output,), attributes))
        return Value(self, output, kind or inputs[0].kind)

    def split(self, value: Value, parts: int, *, axis: int) -> list[Value]:
        """Equal parts of a value along an axis."""
        names = tuple(f"split{len(self.nodes)}_{part}" for part in range(parts))
        self.nodes.append(Node("Split", (value.name,), names, {"axis": axis, "num_outputs": parts}))
        return [Value(self, name, value.kind) for name in names]

    def concat(self, *values: Value, axis: int, name: str = "") -> Value:
        return self.call("Concat", *values, axis=axis, name=name)

    def where(self, condition: Value, then: Value, otherwise: Value | float) -> Value:
        return self.call("Where", condition, then, then.like(otherwise), kind=then.kind)

    def largest(self, *values: Value) -> Value:
        return self.call("Max", *values)

    def smallest(self, *values: Value) -> Value:
        return self.call("Min", *values)

    def _constant(self, value: NDArray[Any]) -> Value:
        # Written once, no matter how often it is asked for.
        for name, known in self.constants.items():
            if known.dtype == value.dtype and np.array_equal(known, value):
                return Value(self, name, value.dtype.type)
        name = f"c{len(self.constants)}"
        self.constants[name] = value
        return Value(self, name, value.dtype.type)


class Value:
    """A value in a graph. Arithmetic with it adds operators; numbers become constants of its own kind."""

    def __init__(self, nodes: Nodes, name: str, kind: type) -> None:
        self.nodes, self.name, self.kind = nodes, name, kind

    def like(self, other: Value | ArrayLike) -> Value:
        """`other` as a value of this one's kind."""
        if isinstance(other, Value):
            return other
        return self.nodes.floats(other) if self.kind is np.float32 else self.nodes.ints(other)

    def _call(self, operator: str, other: Value | ArrayLike, kind: type | None = None) -> Value:
        return self.nodes.call(operator, self, self.like(other), kind=kind)

    def __add__(self, other: Value | ArrayLike) -> Value:
        return self._call("Add", other)

    def __sub__(self, other: Value | ArrayLike) -> Value:
        return self._call("Sub", other)

    def __mul__(self, other: Value | ArrayLike) -> Value:
        return self._call("Mul", other)

    def __truediv__(self, other: Value | ArrayLike) -> Value:
        return self._call("Div", other)

    def __matmul__(self, other: Value | ArrayLike) -> Value:
        return self._call("MatMul", other)

    def __lt__(self, other: Value | ArrayLike) -> Value:
        return self._call("Less", other, np.bool_)

    def __gt__(self, other: Value | ArrayLike) -> Value:
        return self._call("Greater", other, np.bool_)

    def __ge__(self, other: Value | ArrayLike) -> Value:
        return self._call("GreaterOrEqual", other, np.bool_)

    def __and__(self, other: Value) -> Value:
        return self._call("And", other)

    def floats(self) -> Value:
        return self.nodes.call("Cast", self, to=_FLOAT, kind=np.float32)

    def ints(self) -> Value:
        return self.nodes.call("Cast", self, to=_INT64, kind=np.int64)

    def shape(self) -> Value:
        return self.nodes.call("Shape", self, kind=np.int64)

    def reshape(self, *shape: int) -> Value:
        return self.nodes.call("Reshape", self, self.nodes.ints(shape))

    def unsqueeze(self, axis: int) -> Value:
        return self.nodes.call("Unsqueeze", self, self.nodes.ints([axis]))

    def squeeze(self, axis: int) -> Value:
        return self.nodes.call("Squeeze", self, self.nodes.ints([axis]))

    def cut(self, start: int, stop: int, *, axis: int) -> Value:
        """What lies from `start` up to `stop` along an axis."""
        return self.nodes.call("Slice", self, *(self.nodes.ints([part]) for part in (start, stop, axis)))

    def gather(self, where: Value, *, axis: int = 0) -> Value:
        return self.nodes.call("Gather", self, where, axis=axis)

    def reduce(self, how: str, axis: int, *, keep: bool = False) -> Value:
        """Sum, Mean, Max, Min, L2 or SumSquare along an axis, which stays with length 1 if `keep`."""
        return self.nodes.call(f"Reduce{how}", self, self.nodes.ints([axis]), keepdims=int(keep))

    def clip(self, low: float, high: float) -> Value:
        return self.nodes.call("Clip", self, self.like(low), self.like(high))
