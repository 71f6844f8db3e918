"""Graphs as values: editing, invariants, text."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from small_nets import classifier
from tersor.errors import GraphError
from tersor.ir.check import check_graph, check_quantization
from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Op, Tensor
from tersor.ir.quant import PerChannel, QuantParams
from tersor.ir.text import dump, short

GRAPH = classifier().graph


def test_editing_makes_a_new_graph_that_shares_the_constants() -> None:
    softmax = GRAPH.producers["scores"]
    logits = softmax.present_inputs[0]
    edited = GRAPH.edit(replace_ops={softmax.name: ()}, outputs=[logits])
    assert edited.outputs == (logits,)
    assert "scores" not in edited.tensors
    assert GRAPH.outputs == ("scores",)
    assert edited.tensors["conv/weights"].data is GRAPH.tensors["conv/weights"].data
    check_graph(edited)


def test_editing_keeps_the_order_of_operators_around_a_replacement() -> None:
    conv = GRAPH.ops[0]
    extra = Op("extra", "RELU", (conv.outputs[0],), ("extra",))
    edited = GRAPH.edit(replace_ops={conv.name: (conv, extra)}, tensors=(t for t in [_like(conv.outputs[0], "extra")]))
    assert [op.kind for op in edited.ops[:3]] == ["CONV_2D", "RELU", "MEAN"]
    assert "extra" in edited.tensors


def test_editing_an_operator_that_is_not_there_is_refused() -> None:
    with pytest.raises(GraphError, match="no operator 'nothing'"):
        GRAPH.edit(replace_ops={"nothing": ()})


def test_fresh_names_are_unique() -> None:
    assert GRAPH.fresh_name("new") == "new"
    assert GRAPH.fresh_name("scores") == "scores_2"
    assert GRAPH.fresh_name("scores", taken=["scores_2"]) == "scores_3"


def test_tensors_cannot_be_replaced_in_place() -> None:
    with pytest.raises(TypeError):
        GRAPH.tensors["scores"] = GRAPH.tensors["x"]  # type: ignore[index]
    data = GRAPH.tensors["conv/weights"].data
    assert data is not None
    with pytest.raises(ValueError, match="read-only"):
        data[0] = 0


def test_graphs_survive_a_process_boundary() -> None:
    assert pickle.loads(pickle.dumps(GRAPH)) == GRAPH


def _like(name: str, new: str) -> Tensor:
    return replace(GRAPH.tensors[name], name=new)


def _without(*names: str) -> Graph:
    return replace(GRAPH, tensors={name: t for name, t in GRAPH.tensors.items() if name not in names})


def _with_ops(change: Callable[[tuple[Op, ...]], tuple[Op, ...]]) -> Graph:
    return replace(GRAPH, ops=change(GRAPH.ops))


BROKEN = {
    "no tensor 'conv/bias'": _without("conv/bias"),
    "before it is written": _with_ops(lambda ops: ops[::-1]),
    "a second time": _with_ops(lambda ops: (*ops, replace(ops[0], name="again"))),
    "two operators are named": _with_ops(lambda ops: (*ops[:-1], replace(ops[-1], name=ops[0].name))),
    "output 'nowhere' is never written": replace(
        GRAPH, tensors={**GRAPH.tensors, "nowhere": Tensor("nowhere", (1,), DType.FLOAT32)}, outputs=("nowhere",)
    ),
    "is filed under": replace(GRAPH, tensors={**GRAPH.tensors, "alias": GRAPH.tensors["x"]}),
    "can be written to": replace(
        GRAPH, tensors={**GRAPH.tensors, "free": Tensor("free", (2,), DType.FLOAT32, np.zeros(2, np.float32))}
    ),
    "but data of shape": replace(
        GRAPH,
        tensors={**GRAPH.tensors, "odd": Tensor("odd", (3,), DType.FLOAT32).with_data(np.zeros(2, np.float32))},
    ),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_broken_invariant_is_named(rule: str) -> None:
    check_graph(GRAPH)
    with pytest.raises(GraphError, match=rule):
        check_graph(BROKEN[rule])


def test_compiled_operators_may_read_memory_that_nothing_writes() -> None:
    scratch = Tensor("scratch", (64,), DType.UINT8)
    last = GRAPH.ops[-1]
    graph = replace(
        GRAPH,
        tensors={**GRAPH.tensors, "scratch": scratch},
        ops=(*GRAPH.ops[:-1], replace(last, kind="CUSTOM", custom_code="ethos-u", inputs=(*last.inputs, "scratch"))),
    )
    check_graph(graph)
    with pytest.raises(GraphError, match="before it is written"):
        check_graph(replace(graph, ops=(*GRAPH.ops[:-1], replace(last, inputs=(*last.inputs, "scratch")))))


PARAMETERS = {
    "finite and positive": QuantParams((0.0,), (0,), DType.INT8),
    "outside": QuantParams((1.0,), (128,), DType.INT8),
    "its quantization is for uint8": QuantParams((1.0,), (0,), DType.UINT8),
    "along axis": QuantParams((1.0, 1.0), (0, 0), DType.INT8, PerChannel(0)),
    "1 scales and 2 zero points": QuantParams((1.0,), (0, 0), DType.INT8),
}


@pytest.mark.parametrize("rule", PARAMETERS)
def test_broken_quantization_is_named(rule: str) -> None:
    tensor = Tensor("q", (3,), DType.INT8, quant=PARAMETERS[rule])
    model = replace(classifier(), graphs=(replace(GRAPH, tensors={**GRAPH.tensors, "q": tensor}),))
    with pytest.raises(GraphError, match=rule):
        check_quantization(model)


def test_text_has_a_line_for_everything_that_a_person_looks_for() -> None:
    text = dump(classifier())
    assert "input x: float32[1,6,6,3]" in text
    assert "scores: float32[1,5] = SOFTMAX v1" in text
    assert "constant conv/weights: float32[8,3,3,3]" in text
    assert "stride_w=1" in text


def test_merged_names_are_shown_short() -> None:
    assert short("block/Relu;block/add") == "block/Relu;..."
    assert short("plain") == "plain"
