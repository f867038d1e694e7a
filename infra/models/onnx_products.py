"""Products of states [texts, tokens, width] and weights [out, width] as nodes of an ONNX graph.

In float32; or in int8, where a state is scaled by its own largest value, so that a text's vector does not
depend on what else is in the batch, and the few channels with outliers stay in float32 (LLM.int8(), arXiv
2208.07339, section 3.2; a departure: the outliers are the channels that the layer norms scale most, known from
the weights alone, not those found above 6.0 in the states).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

RUNTIME = "com.microsoft"
# The least value of the GELU is -0.16997.
GELU_LEAST = -0.17
# Of the width, the share of channels with outliers.
_OUTLIERS = 1 / 24

Array = NDArray[Any]
Weights = dict[str, Array]


@dataclass(slots=True)
class Graph:
    """An ONNX graph being built; each node has one output, with the node's name."""

    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def constant(self, name: str, value: Array) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def number(self, name: str, value: float, kind: type = np.float32) -> str:
        return self.constant(name, np.array(value, dtype=kind))

    def node(self, name: str, kind: str, *inputs: str, domain: str = "", **options: Any) -> str:
        from onnx import helper

        made = helper.make_node(kind, list(inputs), [name], name, domain=domain, **options)
        self.nodes.append(made)
        return name

    def norm(self, name: str, states: str, weights: Weights, of: str, epsilon: float) -> str:
        scale = self.constant(f"{name}.w", weights[f"{of}.LayerNorm.weight"])
        shift = self.constant(f"{name}.b", weights[f"{of}.LayerNorm.bias"])
        return self.node(name, "LayerNormalization", states, scale, shift, epsilon=epsilon)


class Products(Protocol):
    @property
    def graph(self) -> Graph: ...

    def factor(self, states: str, *, whole: bool = False, least: float | None = None) -> str:
        """What `of` takes, made once for several products. `whole`: no channel has outliers; `least`: the
        same, and all values lie above."""
        ...

    def of(self, name: str, factor: str, weights: Array) -> str:
        """The product's node, without a bias."""
        ...


@dataclass(frozen=True, slots=True)
class Float32:
    graph: Graph

    def factor(self, states: str, *, whole: bool = False, least: float | None = None) -> str:
        return states

    def of(self, name: str, factor: str, weights: Array) -> str:
        return self.graph.node(name, "MatMul", factor, self.graph.constant(f"{name}.w", weights.T))


@dataclass(frozen=True, slots=True)
class _Factor:
    """`most` is uint8: (most - middle) * step * top gives the states, `shift` above what they are, but for the
    channels `outliers`, whose states are `few`."""

    most: str
    top: str
    step: str
    middle: str
    shift: float = 0.0
    few: str | None = None


@dataclass(frozen=True, slots=True)
class Int8:
    graph: Graph
    outliers: Array
    factors: dict[str, _Factor] = field(default_factory=dict)

    @classmethod
    def of_weights(cls, graph: Graph, weights: Weights) -> Int8:
        gains = [
            np.abs(scale)
            for name, scale in weights.items()
            if name.endswith("attention.output.LayerNorm.weight")
        ]
        gain = np.max(gains, axis=0)
        outliers = np.sort(np.argsort(-gain)[: max(1, round(len(gain) * _OUTLIERS))])
        kept = np.ones(len(gain), dtype=np.float32)
        kept[outliers] = 0.0
        graph.constant("outliers", outliers)
        graph.constant("not_outliers", kept)
        for name, value in (("least_top", 1e-6), ("signed_step", 1 / 127), ("step", 1 / 255)):
            graph.number(name, value)
        graph.number("middle", 128, np.uint8)
        graph.number("bottom", 0, np.uint8)
        return cls(graph, outliers)

    def factor(self, states: str, *, whole: bool = False, least: float | None = None) -> str:
        name = f"{states}.factor"
        self.factors[name] = (
            self._signed(name, states, whole) if least is None else self._above(name, states, least)
        )
        return name

    def _signed(self, name: str, states: str, whole: bool) -> _Factor:
        graph, few = self.graph, None
        if not whole:
            few = graph.node(f"{name}.few", "Gather", states, "outliers", axis=2)
            states = graph.node(f"{name}.rest", "Mul", states, "not_outliers")
        size = graph.node(f"{name}.size", "Abs", states)
        largest = graph.node(f"{name}.largest", "ReduceMax", size, axes=[2], keepdims=1)
        top = graph.node(f"{name}.top", "Max", largest, "least_top")
        return self._rounded(name, states, _Factor("", top, "signed_step", "middle", few=few))

    def _above(self, name: str, states: str, least: float) -> _Factor:
        graph = self.graph
        states = graph.node(f"{name}.up", "Sub", states, graph.number(f"{name}.least", least))
        top = graph.node(f"{name}.top", "ReduceMax", states, axes=[2], keepdims=1)
        return self._rounded(name, states, _Factor("", top, "step", "bottom", shift=-least))

    def _rounded(self, name: str, states: str, factor: _Factor) -> _Factor:
        share = self.graph.node(f"{name}.share", "Div", states, factor.top)
        kind = "QuantizeLinear"
        most = self.graph.node(f"{name}.most", kind, share, factor.step, factor.middle)
        return replace(factor, most=most)

    def of(self, name: str, factor: str, weights: Array) -> str:
        graph, own, columns = self.graph, self.factors[factor], weights.T.copy()
        exact = None
        if own.few:
            few = graph.constant(f"{name}.few_w", columns[self.outliers])
            exact = graph.node(f"{name}.few", "MatMul", own.few, few)
            columns[self.outliers] = 0.0
        scales = np.abs(columns).max(0) / 127.0
        scales[scales == 0.0] = 1.0
        rounded = np.rint(columns / scales).astype(np.int8)
        found = self._whole(name, own, rounded, scales)
        if own.shift:
            over = own.shift * (rounded * scales).sum(0, dtype=np.float32)
            found = graph.node(f"{name}.down", "Sub", found, graph.constant(f"{name}.over", over))
        return graph.node(f"{name}.total", "Add", found, exact) if exact else found

    def _whole(self, name: str, factor: _Factor, rounded: Array, scales: Array) -> str:
        graph = self.graph
        product = graph.node(
            f"{name}.whole",
            "MatMulIntegerToFloat",
            factor.most,
            graph.constant(f"{name}.w", rounded),
            factor.step,
            graph.constant(f"{name}.scales", scales),
            factor.middle,
            graph.constant(f"{name}.zeros", np.zeros(len(scales), dtype=np.int8)),
            domain=RUNTIME,
        )
        return graph.node(f"{name}.scaled", "Mul", product, factor.top)
