"""Metadata of a model file: flatbuffers with a schema of our own tables, normalization, labels, and damage."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small_nets import classifier, conv, shared_file, through_file
from tersor.errors import FormatError
from tersor.formats import tflite
from tersor.formats.tflite import metadata
from tersor.formats.tflite.flatbuffer import Schema, decode, encode
from tersor.formats.tflite.metadata import (
    Normalization,
    read_labels,
    read_normalizations,
    with_labels,
    with_normalizations,
)
from tersor.formats.tflite.metadata_schema import SCHEMA
from tersor.ir.build import Builder
from tersor.ir.graph import Model, Record

LABELS = ("cat", "dog", "Größe", "crane", "crane")
SCALE = Normalization((127.5,), (127.5,))

KINDS = Schema(
    root="Root",
    identifier=b"TEST",
    tables={
        "Root": {
            "flag": "bool",
            "small": "int8",
            "large": "uint64",
            "real": "float64",
            "name": "string",
            "numbers": "[float32]",
            "data": "[uint8]",
            "names": "[string]",
            "other": "Choice",
            "parts": "[Root]",
        },
        "Leaf": {"value": "int32"},
    },
    unions={"Choice": ("Leaf", "Root")},
)


def described() -> Model:
    model = with_normalizations(classifier(), {"x": SCALE})
    return with_labels(model, "scores", LABELS)


def again(model: Model) -> Model:
    return tflite.read_bytes(tflite.write_bytes(model))


def root(**fields: object) -> Record:
    return Record("Root", tuple(fields.items()))


names = st.text(max_size=8)
roots = st.recursive(
    st.builds(root, large=st.integers(1, 2**64 - 1), name=names),
    lambda parts: st.builds(
        root,
        small=st.integers(1, 127),
        real=st.floats(0.5, 1e300),
        numbers=st.lists(st.floats(width=32, allow_nan=False), max_size=4).map(tuple),
        data=st.binary(max_size=40),
        names=st.lists(names, max_size=3).map(tuple),
        other=parts | st.builds(lambda value: Record("Leaf", (("value", value),)), st.integers(1, 100)),
        parts=st.lists(parts, max_size=2).map(tuple),
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(roots)
def test_what_is_encoded_is_decoded(value: Record) -> None:
    found = decode(encode(value, KINDS), KINDS, "it")
    assert found.root == value
    assert found.is_whole


@settings(deadline=None)
@given(roots, st.data())
def test_damage_is_an_error_of_ours_or_another_value(value: Record, data: st.DataObject) -> None:
    content = bytearray(encode(value, KINDS))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(0, len(content))) :]
    with contextlib.suppress(FormatError):
        decode(bytes(content), KINDS, "it")


def test_a_list_that_claims_more_than_there_is() -> None:
    content = encode(root(data=b"abcdefgh"), KINDS)
    place = content.index(b"abcdefgh") - 4
    huge = content[:place] + struct.pack("<I", 0xFFFFFFF0) + content[place + 4 :]
    with pytest.raises(FormatError, match="a list claims 4294967280 elements where"):
        decode(huge, KINDS, "it")


def test_parts_that_are_shared_without_end() -> None:
    """Each list holds the next one 40 times: 40 to the power of 8 tables in a kilobyte."""
    fan, levels = 40, 8
    content = bytearray(struct.pack("<IHHHH", 12, 6, 8, 4, 0))
    for level in range(levels):
        count = fan if level < levels - 1 else 0
        content += struct.pack("<iII", len(content) - 4, 4, count)
        content += b"".join(struct.pack("<I", 4 * (count - place)) for place in range(count))
    nodes = Schema(root="Node", tables={"Node": {"parts": "[Node]"}}, unions={})
    with pytest.raises(FormatError, match="it refers to the same parts again and again"):
        decode(bytes(content), nodes, "it")


def test_normalization_and_labels_survive_a_file() -> None:
    model = again(described())
    assert read_normalizations(model) == {"x": SCALE}
    assert read_labels(model) == {"scores": LABELS}
    assert model.attachments[0][0] == "labels.txt"


def test_a_picture_is_described_as_one() -> None:
    content = decode(dict(described().metadata)[metadata.NAME], SCHEMA, "it").root
    (graph,) = content.get("subgraph_metadata")
    (picture,), (scores,) = graph.get("input_tensor_metadata"), graph.get("output_tensor_metadata")
    assert picture.get("content").get("content_properties") == Record("ImageProperties", (("color_space", 1),))
    assert scores.get("content").get("content_properties") == Record("FeatureProperties")
    assert content.get("min_parser_version") == "1.0.0"


def test_one_channel_is_not_said_to_be_a_picture() -> None:
    builder = Builder("grey")
    y = conv(builder, builder.input("x", [1, 4, 4, 1]), 2)
    model = with_normalizations(through_file(builder.model([y])), {"x": SCALE})
    content = decode(dict(model.metadata)[metadata.NAME], SCHEMA, "it").root
    (tensor,) = content.get("subgraph_metadata")[0].get("input_tensor_metadata")
    assert tensor.get("content").get("content_properties") == Record("FeatureProperties")


def existing() -> bytes:
    """Metadata as another tool writes them: an author, a description, a score threshold, statistics."""
    unit = Record("ProcessUnit", (("options", Record("ScoreThresholdingOptions", (("global_score_threshold", 0.5),))),))
    output = Record("TensorMetadata", (("name", "probability"), ("process_units", (unit,))))
    stats = Record("Stats", (("max", (1.0,)), ("min", (-1.0,))))
    given_input = Record("TensorMetadata", (("name", "image"), ("description", "a picture"), ("stats", stats)))
    custom = Record("CustomMetadata", (("name", "own"), ("data", b"\x00\x01\x02")))
    graph = Record(
        "SubGraphMetadata",
        (
            ("input_tensor_metadata", (given_input,)),
            ("output_tensor_metadata", (output,)),
            ("custom_metadata", (custom,)),
        ),
    )
    fields = (("name", "net"), ("subgraph_metadata", (graph,)), ("author", "somebody"), ("license", "Apache-2.0"))
    return encode(Record("ModelMetadata", fields), SCHEMA)


def test_what_others_wrote_stays() -> None:
    model = replace(classifier(), metadata=(("own", b"1234"), (metadata.NAME, existing())))
    before = decode(existing(), SCHEMA, "it").root
    changed = again(with_labels(with_normalizations(model, {"x": SCALE}), "scores", LABELS))
    assert dict(changed.metadata)["own"] == b"1234"
    after = decode(dict(changed.metadata)[metadata.NAME], SCHEMA, "it").root
    assert (after.get("author"), after.get("license"), after.get("name")) == ("somebody", "Apache-2.0", "net")
    (old,), (new,) = before.get("subgraph_metadata"), after.get("subgraph_metadata")
    assert new.get("custom_metadata") == old.get("custom_metadata")
    (old_input,), (new_input,) = old.get("input_tensor_metadata"), new.get("input_tensor_metadata")
    assert new_input.get("stats") == old_input.get("stats")
    assert new_input.get("description") == "a picture"
    (new_output,) = new.get("output_tensor_metadata")
    assert new_output.get("process_units") == old.get("output_tensor_metadata")[0].get("process_units")
    assert read_normalizations(changed) == {"x": SCALE}


def test_normalization_is_replaced_and_withdrawn() -> None:
    other = Normalization((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    assert read_normalizations(again(with_normalizations(described(), {"x": other}))) == {"x": other}
    withdrawn = again(with_normalizations(described(), {"x": None}))
    assert read_normalizations(withdrawn) == {}
    assert read_labels(withdrawn) == {"scores": LABELS}
    assert with_normalizations(withdrawn, {"x": None}) == withdrawn
    assert with_normalizations(classifier(), {"x": None}) == classifier()


def test_labels_are_replaced_and_equal_ones_change_nothing() -> None:
    model = described()
    assert with_labels(model, "scores", LABELS) == model
    changed = with_labels(model, "scores", ("a", "b", "c", "d", "e"))
    assert read_labels(again(changed)) == {"scores": ("a", "b", "c", "d", "e")}
    assert len(changed.attachments) == 1


def test_a_file_of_somebody_else_keeps_its_name() -> None:
    model = replace(classifier(), attachments=(("labels.txt", b"not ours"),))
    changed = again(with_labels(model, "scores", LABELS))
    assert dict(changed.attachments)["labels.txt"] == b"not ours"
    assert read_labels(changed) == {"scores": LABELS}


def test_parts_of_a_later_schema_are_read_and_not_rewritten() -> None:
    """A field more than we know: what we know can be read, but writing would lose the rest."""
    wider = Schema(
        root="ModelMetadata",
        identifier=b"M001",
        tables={
            **SCHEMA.tables,
            "ModelMetadata": {**SCHEMA.tables["ModelMetadata"], "future": "string"},
        },
        unions=SCHEMA.unions,
    )
    content = encode(decode(existing(), SCHEMA, "it").root.with_fields(future="x"), wider)
    model = replace(classifier(), metadata=((metadata.NAME, content),))
    assert read_normalizations(model) == {}
    with pytest.raises(FormatError, match=r"hold parts that tersor does not know; they are not changed \(--no"):
        with_normalizations(model, {"x": SCALE})


@pytest.mark.parametrize("content", [b"", b"\x08\x00\x00\x00M001", b"\xff" * 64, existing()[:60]])
def test_damaged_metadata_are_named(content: bytes) -> None:
    model = replace(classifier(), metadata=((metadata.NAME, content),), source="net.tflite")
    with pytest.raises(FormatError, match=r"net\.tflite: its metadata \(TFLITE_METADATA\) is damaged"):
        read_normalizations(model)
    assert dict(again(model).metadata) == {metadata.NAME: content}


def test_a_label_file_that_is_missing_or_no_text() -> None:
    model = described()
    with pytest.raises(FormatError, match=r"name the label file 'labels\.txt', which is not attached"):
        read_labels(replace(model, attachments=()))
    with pytest.raises(FormatError, match=r"label file 'labels\.txt' is not UTF-8"):
        read_labels(replace(model, attachments=(("labels.txt", b"\xff\xfe\x00"),)))


def zipped(*files: tuple[str, bytes], claim: int | None = None) -> bytes:
    """An archive, and one whose directory claims another size for every file."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # that a name is there twice
        for name, data in files:
            archive.writestr(name, data)
    content = bytearray(buffer.getvalue())
    if claim is not None:
        place = content.index(b"PK\x01\x02")
        content[place + 24 : place + 28] = struct.pack("<I", claim)
    return bytes(content)


def test_a_zip_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = zipped(("labels.txt", bytes(300 << 20)))
    assert len(bomb) < 1 << 20
    with pytest.raises(FormatError, match="attached files unpack to more than 256 MiB"):
        tflite.read_bytes(tflite.write_bytes(classifier()) + bomb)


def test_a_zip_that_claims_less_than_it_holds() -> None:
    content = tflite.write_bytes(classifier()) + zipped(("labels.txt", bytes(64 << 20)), claim=16)
    with pytest.raises(FormatError, match="attached files are damaged"):
        tflite.read_bytes(content)


def test_a_name_that_is_there_twice_survives() -> None:
    content = tflite.write_bytes(classifier()) + zipped(("a.txt", b"one"), ("a.txt", b"two"))
    model = tflite.read_bytes(content)
    assert [name for name, _ in model.attachments] == ["a.txt", "a.txt"]
    assert again(model).attachments == model.attachments


def test_what_google_wrote_is_read_and_survives() -> None:
    """A network of 1001 classes with metadata by TensorFlow Lite's own tools."""
    model = tflite.read(shared_file("edge_tpu_pairs/mobilenet_v1_0.25_128_quant.tflite"))
    assert read_normalizations(model) == {"input": SCALE}
    (labels,) = read_labels(model).values()
    assert (len(labels), labels[0], labels[1]) == (1001, "background", "tench, Tinca tinca")
    before = decode(dict(model.metadata)[metadata.NAME], SCHEMA, "it")
    changed = again(with_normalizations(model, {"input": Normalization((0.0,), (255.0,))}))
    after = decode(dict(changed.metadata)[metadata.NAME], SCHEMA, "it").root
    assert before.is_whole
    for field in ("name", "description", "author", "license", "version", "min_parser_version"):
        assert after.get(field) == before.root.get(field)
    assert list(read_labels(changed).values()) == [labels]
    assert changed.attachments == model.attachments
    assert with_normalizations(changed, {"input": SCALE}).graphs == model.graphs


def test_equal_models_give_equal_bytes(tmp_path: Path) -> None:
    assert tflite.write_bytes(described()) == tflite.write_bytes(described())
