"""Files are read and written without loss."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import struct
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Run
from small_nets import DEMO, SHARED, classifier, conv, dense, images, random, through_file
from tersor.errors import FormatError, OutputError
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.check import check_model
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Graph, Model, Op, Record, Signature, Tensor
from tersor.ir.quant import PerGroup, QuantParams
from tersor.numerics.packing import pack, values_of
from tersor.runtimes.engine import Engine

FILES = [DEMO, *sorted(SHARED.rglob("*.tflite"))]


def twice(model: Model) -> Model:
    """The model after it was written and read; fails unless it is the same."""
    again = through_file(model)
    assert again == model
    assert tflite.write_bytes(again) == tflite.write_bytes(model)
    return again


def repacked(model: Model, change: Callable[[Any], object]) -> bytes:
    """A file as another program would write it: the tables of the schema, changed by hand."""
    table = schema.ModelT.InitFromPackedBuf(tflite.write_bytes(model), 0)
    change(table)
    builder = flatbuffers.Builder()
    builder.Finish(table.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def noise(shape: tuple[int, ...], dtype: str) -> Array:
    sizes = [max(size, 1) for size in shape]
    generator = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return generator.normal(size=sizes).astype(dtype)
    return generator.integers(0, 100, sizes).astype(dtype)


# Real files


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_real_file_survives(path: Path) -> None:
    model = tflite.read(path)
    assert model.source == str(path)
    twice(model)


@pytest.mark.parametrize("path", [p for p in FILES if not p.stem.endswith("_edgetpu")], ids=lambda path: path.stem)
def test_real_file_computes_the_same_bits_after_a_round_trip(path: Path, tmp_path: Path, engine: Engine) -> None:
    again = tmp_path / "again.tflite"
    tflite.write(tflite.read(path), again)
    answers = []
    for each in (path, again):
        handle = engine.open(str(each))
        answers.append(handle.run([noise(port.shape, port.dtype) for port in handle.inputs]))
        handle.close()
    assert all(a.tobytes() == b.tobytes() for a, b in zip(*answers, strict=True))


def test_real_files_are_there_or_said_to_be_missing() -> None:
    if not SHARED.exists():
        pytest.skip("the shared models are not on this machine: only the demo's was tested")
    assert len(FILES) > 20


# Odd files


def test_file_is_no_larger_than_the_one_that_was_read() -> None:
    assert len(tflite.write_bytes(tflite.read(DEMO))) <= DEMO.stat().st_size


def test_duplicate_and_empty_tensor_names_become_unique_and_edges_stay(run: Run) -> None:
    model = classifier()

    def rename(table: Any) -> None:
        for tensor in table.subgraphs[0].tensors:
            tensor.name = b"same"
        table.subgraphs[0].tensors[1].name = b""
        table.subgraphs[0].tensors[2].name = None
        table.subgraphs[0].tensors[3].name = b"same#2"

    odd = tflite.read_bytes(repacked(model, rename))
    names = list(odd.graph.tensors)
    assert len(set(names)) == len(names) == len(model.graph.tensors)
    assert "" not in names
    assert names[3] == "same#2"
    x = images(1)
    np.testing.assert_array_equal(run(odd, [x])[0], run(model, [x])[0])
    twice(odd)


def test_names_that_are_not_utf8_survive() -> None:
    def rename(table: Any) -> None:
        table.subgraphs[0].tensors[0].name = b"caf\xe9"
        table.description = b"\xff\xfe"

    odd = tflite.read_bytes(repacked(classifier(), rename))
    packed = tflite.write_bytes(odd)
    assert b"caf\xe9" in packed
    assert b"\xff\xfe" in packed
    twice(odd)


def test_operator_codes_of_files_before_tensorflow_2_4(run: Run) -> None:
    def age(table: Any) -> None:
        for code in table.operatorCodes:
            code.deprecatedBuiltinCode, code.builtinCode = code.builtinCode, 0

    old = tflite.read_bytes(repacked(classifier(), age))
    assert [op.kind for op in old.graph.ops] == ["CONV_2D", "MEAN", "FULLY_CONNECTED", "SOFTMAX"]
    assert old.graph == classifier().graph
    assert run(old, [images(1)])[0].shape == (1, 5)


def test_operator_codes_above_127_are_read_from_the_new_field_and_written_to_both() -> None:
    builder = Builder()
    x = builder.input("x", [1, 4])
    model = twice(through_file(builder.model([builder.op("GELU", [x], [1, 4])])))
    table = schema.ModelT.InitFromPackedBuf(tflite.write_bytes(model), 0)
    (code,) = table.operatorCodes
    assert (code.builtinCode, code.deprecatedBuiltinCode) == (150, 127)


def test_file_without_signatures_description_and_graph_name_gets_none() -> None:
    def strip(table: Any) -> None:
        table.signatureDefs = table.description = table.subgraphs[0].name = table.metadata = None

    bare = twice(tflite.read_bytes(repacked(classifier(), strip)))
    assert (bare.signatures, bare.metadata, bare.description, bare.graph.name) == ((), (), "", "")


def test_custom_operator_keeps_its_code_and_options() -> None:
    tensors = {name: Tensor(name, (1, 4), DType.FLOAT32) for name in ("x", "y", "z")}
    ops = (
        Op("y", "CUSTOM", ("x", None), ("y",), custom_code="MyOp", custom_options=bytes(range(200)), version=3),
        Op("z", "CUSTOM", ("y",), ("z",), custom_code="FlexErf", custom_options=b""),
    )
    again = twice(Model((Graph("g", tensors, ops, ("x",), ("z",)),)))
    first, second = again.graph.ops
    assert (first.custom_code, first.custom_options, first.inputs) == ("MyOp", bytes(range(200)), ("x", None))
    assert (second.custom_code, second.label) == ("FlexErf", "FlexErf")


def test_control_flow_runs_after_a_round_trip(run: Run) -> None:
    model = twice(through_file(_branching()))
    assert [graph.name for graph in model.graphs] == ["main", "double", "negate"]
    x = random([1, 4])
    for condition, wanted in ((True, x + x), (False, -x)):
        np.testing.assert_array_equal(run(model, [np.array([condition]), x])[0], wanted)


def _branching() -> Model:
    def branch(name: str, kind: str) -> Graph:
        builder = Builder(name)
        x = builder.input("x", [1, 4])
        return builder.model([builder.op(kind, [x, x] if kind == "ADD" else [x], [1, 4], name="y")]).graph

    builder = Builder("main")
    condition, x = builder.input("condition", [1], DType.BOOL), builder.input("x", [1, 4])
    options = {"then_subgraph_index": 1, "else_subgraph_index": 2}
    main = builder.model([builder.op("IF", [condition, x], [1, 4], options, name="y")])
    return replace(main, graphs=(*main.graphs, branch("double", "ADD"), branch("negate", "NEG")))


def test_loop_runs_after_a_round_trip(run: Run) -> None:
    main = Builder("main")
    count, x = main.input("count", [1], DType.INT32), main.input("x", [1, 2])
    options = {"cond_subgraph_index": 1, "body_subgraph_index": 2}
    results = [((1,), DType.INT32), ((1, 2), DType.FLOAT32)]
    last, y = main.op_with("WHILE", [count, x], results, options, name="loop")
    condition = Builder("condition")
    inputs = [condition.input("count", [1], DType.INT32), condition.constant("zero", [0])]
    condition.input("x", [1, 2])
    more = condition.op("GREATER", inputs, [1], dtype=DType.BOOL)
    body = Builder("body")
    count, x = body.input("count", [1], DType.INT32), body.input("x", [1, 2])
    fewer = body.op("SUB", [count, body.constant("one", [1])], [1], dtype=DType.INT32)
    grown = body.op("ADD", [x, x], [1, 2])
    graphs = (main.model([last, y]), condition.model([more]), body.model([fewer, grown]))
    model = twice(through_file(replace(graphs[0], graphs=tuple(item.graph for item in graphs))))
    left, values = run(model, [np.array([3], np.int32), np.array([[1, 2]], np.float32)])
    assert left == [0]
    np.testing.assert_array_equal(values, [[8, 16]])


def test_variable_tensors_and_their_quantization_stay() -> None:
    builder = Builder()
    x, state = builder.input("x", [1, 3]), builder.variable("state", [1, 8])
    weights = [builder.constant("features", random([2, 3])), builder.constant("time", random([2, 4]))]
    y = builder.op("SVDF", [x, *weights, None, state], [1, 2], {"rank": 1})
    model = twice(through_file(builder.model([y])))
    assert model.graph.tensors["state"].is_variable
    assert model.graph.tensors["state"].data is None


def test_string_constants_survive() -> None:
    data = np.frombuffer(struct.pack("<4i", 2, 16, 19, 22) + b"abcdef", np.uint8)
    tensors = {
        "x": Tensor("x", (1,), DType.INT32),
        "words": Tensor("words", (2,), DType.STRING).with_data(data.copy()),
        "y": Tensor("y", (1,), DType.STRING),
    }
    op = Op("y", "GATHER", ("words", "x"), ("y",))
    again = twice(through_file(Model((Graph("g", tensors, (op,), ("x",), ("y",)),))))
    words = again.graph.tensors["words"].data
    assert words is not None
    assert words.tobytes() == data.tobytes()


def test_sparse_weights_survive_and_the_runtime_reads_them(run: Run) -> None:
    model, expanded = _sparse()
    again = twice(through_file(model))
    sparsity = again.graph.tensors["sparse"].sparsity
    assert sparsity is not None
    assert sparsity.get("traversal_order") == (0, 1)
    x = random([1, 4])
    np.testing.assert_allclose(run(again, [x], "builtin")[0], x @ expanded.T, rtol=1e-6)


def _sparse() -> tuple[Model, Array]:
    """A dense layer of which the weights [3,4] lie in compressed sparse rows, and these weights."""
    weights = np.array([[0, 1, 0, 2], [0, 0, 0, 0], [3, 0, 4, 0]], np.float32)

    def vector(*values: int) -> Record:
        return Record("Int32Vector", (("values", values),))

    rows = Record("DimensionMetadata", (("format", 0), ("dense_size", 3)))
    columns = Record(
        "DimensionMetadata",
        (
            ("format", 1),
            ("array_segments_type", 1),
            ("array_segments", vector(0, 2, 2, 4)),
            ("array_indices_type", 1),
            ("array_indices", vector(1, 3, 0, 2)),
        ),
    )
    sparsity = Record("SparsityParameters", (("traversal_order", (0, 1)), ("dim_metadata", (rows, columns))))
    builder = Builder()
    x = builder.input("x", [1, 4])
    w = builder.op("DENSIFY", [builder.constant("sparse", weights)], [3, 4], name="weights")
    model = builder.model([builder.op("FULLY_CONNECTED", [x, w, None], [1, 3], name="y")])
    values = weights[weights != 0].view(np.uint8)
    sparse = replace(model.graph.tensors["sparse"], sparsity=sparsity).with_data(values)
    return model.with_graph(model.graph.edit(tensors=[sparse])), weights


def test_blockwise_scales_stay_tied_to_their_tensor() -> None:
    builder = Builder()
    x = builder.input("x", [1, 64])
    scales = builder.constant("scales", random([4, 2], low=0.01, high=0.1).astype(np.float16))
    w = builder.constant("w", np.zeros([4, 64], np.int8))
    model = builder.model([builder.op("FULLY_CONNECTED", [x, w, None], [1, 4], name="y")])
    params = QuantParams((), (), DType.INT4, PerGroup(0, 32, scales))
    weights = Tensor("w", (4, 64), DType.INT4, quant=params).with_data(np.zeros(128, np.uint8))
    kept = replace(model.graph, tensors={**model.graph.tensors, "w": weights})
    again = twice(through_file(model.with_graph(kept)))
    assert again.graph.tensors["w"].quant == params
    assert "scales" in again.graph.used_tensors


@pytest.mark.parametrize("dtype", [DType.INT4, DType.INT2])
def test_packed_constants_survive(dtype: DType) -> None:
    low, high = dtype.integer_range
    values = np.random.default_rng(0).integers(low, high + 1, (3, 5)).astype(np.int8)
    builder = Builder()
    x, w = builder.input("x", [1, 5]), builder.constant("w", np.zeros([3, 5], np.int8))
    model = builder.model([builder.op("FULLY_CONNECTED", [x, w, None], [1, 3], name="y")])
    packed = Tensor("w", (3, 5), dtype, quant=QuantParams((0.5,), (0,), dtype)).with_data(pack(values, dtype))
    again = twice(through_file(model.with_graph(model.graph.edit(tensors=[packed]))))
    np.testing.assert_array_equal(values_of(again.graph.tensors["w"]), values)


def test_metadata_and_signatures_are_kept() -> None:
    model = replace(
        classifier(),
        metadata=(("min_runtime_version", b"1.5.0\0\0\0"), ("TFLITE_METADATA", bytes(range(256)))),
        signatures=(
            Signature("serving_default", (("image", "x"),), (("probabilities", "scores"),)),
            Signature("features", (("image", "x"),), (("mean", "mean"),)),
        ),
    )
    twice(model)


def test_open_dimensions_are_kept() -> None:
    graph = classifier().graph
    x = replace(graph.tensors["x"], open_shape=(-1, 6, 6, 3))
    again = twice(classifier().with_graph(graph.edit(tensors=[x])))
    assert again.graph.tensors["x"].open_shape == (-1, 6, 6, 3)


# The bytes


def test_attachments_are_found_by_zip_readers_at_the_offsets_they_state(tmp_path: Path, run: Run) -> None:
    model = replace(classifier(), attachments=(("labels.txt", b"cat\ndog\n"), ("a/vocab.txt", b"x" * 1000)))
    again = twice(model)
    assert again.attachments == model.attachments
    path = tmp_path / "model.tflite"
    tflite.write(model, path)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.read("labels.txt") == b"cat\ndog\n"
        content = path.read_bytes()
        for item in archive.infolist():
            assert content[item.header_offset : item.header_offset + 4] == b"PK\x03\x04"
    np.testing.assert_array_equal(run(path, [images(1)])[0], run(classifier(), [images(1)])[0])


def test_damaged_attachments_are_refused() -> None:
    content = bytearray(tflite.write_bytes(replace(classifier(), attachments=(("labels.txt", b"cat" * 50),))))
    content[content.index(b"catcat") + 3] ^= 0xFF
    with pytest.raises(FormatError, match="damaged"):
        tflite.read_bytes(content)


def test_foreign_archive_with_offsets_from_its_own_start_is_read() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("labels.txt", "cat")
    model = tflite.read_bytes(tflite.write_bytes(classifier()) + buffer.getvalue())
    assert model.attachments == (("labels.txt", b"cat"),)


def constant_places(content: bytes) -> list[tuple[int, int]]:
    """(offset in the file, size) of every buffer that holds bytes, by the generated reader."""
    whole = np.frombuffer(content, np.uint8)
    start = whole.__array_interface__["data"][0]
    table = schema.Model.GetRootAs(content, 0)
    places = []
    for index in range(table.BuffersLength()):
        buffer = table.Buffers(index)
        if buffer.DataLength():
            places.append((buffer.DataAsNumpy().__array_interface__["data"][0] - start, buffer.DataLength()))
        elif buffer.Size():
            places.append((buffer.Offset(), buffer.Size()))
    return places


@given(st.lists(st.integers(1, 70), min_size=1, max_size=8), st.sampled_from([1 << 40, 100]))
@settings(max_examples=25, deadline=None)
def test_constants_are_aligned_wherever_they_lie(sizes: list[int], external_above: int) -> None:
    builder = Builder()
    x = builder.input("x", [1])
    for number, size in enumerate(sizes):
        x = builder.op("PAD", [x, builder.constant("c", random([size], number))], [1])
    content = b"".join(bytes(chunk) for chunk in tflite.chunks(builder.model([x]), external_above))
    places = constant_places(content)
    assert sorted(size for _, size in places) == sorted(4 * size for size in sizes)
    assert all(offset % 16 == 0 for offset, _ in places)
    ends = sorted((offset, offset + size) for offset, size in places)
    assert all(end <= following for (_, end), (following, _) in itertools.pairwise(ends))


def test_shared_constants_stay_shared() -> None:
    builder = Builder()
    x = builder.input("x", [1, 4])
    w = random([4, 4])
    y = builder.op("FULLY_CONNECTED", [x, builder.constant("w", w), None], [1, 4])
    z = builder.op("FULLY_CONNECTED", [y, builder.constant("v", w.copy()), None], [1, 4])
    model = through_file(builder.model([z]))
    tied = model.with_graph(
        model.graph.edit(tensors=[replace(model.graph.tensors["v"], data=model.graph.tensors["w"].data)])
    )
    assert len(constant_places(tflite.write_bytes(model))) == 2
    content = tflite.write_bytes(twice(tied))
    assert len(constant_places(content)) == 1


def test_equal_models_give_equal_bytes() -> None:
    first, second = classifier(), classifier()
    assert first is not second
    attached = (("labels.txt", b"a"),)
    assert tflite.write_bytes(replace(first, attachments=attached)) == tflite.write_bytes(
        replace(second, attachments=attached)
    )


def test_weights_outside_the_flatbuffer_are_read_and_run(tmp_path: Path, run: Run) -> None:
    model = replace(classifier(), attachments=(("labels.txt", b"cat"),))
    path = tmp_path / "external.tflite"
    path.write_bytes(b"".join(bytes(chunk) for chunk in tflite.chunks(model, external_above=16)))
    table = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    assert any(buffer.offset > 1 for buffer in table.buffers)
    assert all(buffer.data is None or len(buffer.data) == 0 for buffer in table.buffers)
    assert tflite.read(path) == model
    np.testing.assert_array_equal(run(path, [images(1)])[0], run(model, [images(1)])[0])


def test_weights_that_end_behind_the_file_are_refused() -> None:
    content = b"".join(bytes(chunk) for chunk in tflite.chunks(classifier(), external_above=16))
    with pytest.raises(FormatError, match="truncated or corrupted"):
        tflite.read_bytes(content[:-64])


@pytest.mark.slow
@pytest.mark.skipif("TERSOR_SLOW" not in os.environ, reason="writes 2.2 GB; set TERSOR_SLOW=1")
def test_more_than_two_gigabytes(tmp_path: Path, run: Run) -> None:
    size = 1 << 14
    builder = Builder()
    x = builder.input("x", [1, size])
    for factor in (1.5, 2.5):
        weights = np.zeros([size, size], np.float32)
        weights[0, 0] = factor
        x = builder.op("FULLY_CONNECTED", [x, builder.constant("w", weights), None], [1, size])
    model, path = builder.model([x]), tmp_path / "large.tflite"
    tflite.write(model, path)
    assert path.stat().st_size > 1 << 31
    assert tflite.read(path).graph.tensors.keys() == model.graph.tensors.keys()
    (y,) = run(path, [np.ones([1, size], np.float32)])
    assert y[0, 0] == 3.75
    assert np.count_nonzero(y) == 1


# What is not a model


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"", "the file is empty"),
        (b"hello, world", "TFL3 is missing"),
        (b"PK\x03\x04" + bytes(50), "zip archive"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "HDF5"),
        (bytes(4) + b"TFL3" + bytes(100), "truncated or corrupted|no graph"),
    ],
)
def test_other_bytes_are_refused_with_what_they_are(content: bytes, hint: str) -> None:
    with pytest.raises(FormatError, match=hint):
        tflite.read_bytes(content)


def test_negative_sizes_and_missing_tensors_are_refused() -> None:
    def shrink(table: Any) -> None:
        table.subgraphs[0].tensors[0].shape = [-1, 2]

    def lose(table: Any) -> None:
        table.subgraphs[0].inputs = [99]

    def read_early(table: Any) -> None:
        table.subgraphs[0].operators.reverse()

    for change in (shrink, lose, read_early):
        with pytest.raises(FormatError, match=r"corrupted|inconsistent"):
            tflite.read_bytes(repacked(classifier(), change))


def test_unwritable_place_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        tflite.write(classifier(), tmp_path / "missing" / "model.tflite")


def _small_file() -> bytes:
    builder = Builder()
    y = dense(builder, builder.input("x", [1, 3]), 2)
    model = replace(builder.model([y]), metadata=(("m", b"data"),), attachments=(("labels.txt", b"cat"),))
    return tflite.write_bytes(replace(model, signatures=(Signature("s", (("x", "x"),), (("y", y),)),)))


CONTENTS = {"demo": DEMO.read_bytes(), "small": _small_file(), "branching": tflite.write_bytes(_branching())}


@given(st.data(), st.sampled_from(sorted(CONTENTS)))
@settings(max_examples=300, deadline=None)
def test_corrupted_bytes_give_a_model_or_a_format_error_quickly(data: st.DataObject, name: str) -> None:
    content = bytearray(CONTENTS[name])
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    places = st.integers(0, max(len(content) - 1, 0)) | st.integers(0, 400) | st.integers(-400, -1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=20)):
        if -len(content) <= place < len(content):
            content[place] = value
    start = time.perf_counter()
    with contextlib.suppress(FormatError):
        check_model(tflite.read_bytes(bytes(content)))
    assert time.perf_counter() - start < 5


def test_more_convolutions_than_one_share_no_names() -> None:
    builder = Builder()
    x = builder.input("x", [1, 4, 4, 2])
    y = conv(builder, conv(builder, x, 2), 2)
    names = [op.name for op in through_file(builder.model([y])).graph.ops]
    assert names == ["conv", "conv_2"]


def test_constants_of_a_written_file_are_replaced() -> None:
    model = classifier()
    graph = model.graph
    wanted = [
        tensor.with_data(random(tensor.shape, 7))
        for tensor in graph.tensors.values()
        if tensor.dtype is DType.FLOAT32 and tensor.is_constant
    ]
    content = bytearray(tflite.write_bytes(model))
    assert tflite.set_constants(content, wanted)
    assert bytes(content) == tflite.write_bytes(model.with_graph(graph.edit(tensors=wanted)))


def test_constants_that_share_bytes_or_change_their_size_are_left_alone() -> None:
    builder = Builder()
    x = builder.input("x", [1, 4])
    w = random([4, 4])
    y = builder.op("FULLY_CONNECTED", [x, builder.constant("w", w), None], [1, 4])
    model = builder.model([builder.op("FULLY_CONNECTED", [y, builder.constant("v", w), None], [1, 4])])
    first, second = (model.graph.tensors[name] for name in "wv")
    tied = tflite.write_bytes(model.with_graph(model.graph.edit(tensors=[replace(second, data=first.data)])))
    content = bytearray(tied)
    assert not tflite.set_constants(content, [first.with_data(random([4, 4], 3))])
    assert not tflite.set_constants(content, [first.with_data(random([2, 4]), shape=(2, 4))])
    assert bytes(content) == tied
