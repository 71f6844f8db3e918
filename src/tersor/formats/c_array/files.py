"""The files of a C export, as text."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from tersor.formats.c_array.normalization import Normalize, declarations, definitions, number
from tersor.formats.c_array.operators import Operators
from tersor.ir.dtypes import DType
from tersor.ir.quant import PerTensor, QuantParams

ALIGNMENT = 16
"""Bytes; what is read in place has to lie as the file has it."""

_BYTES_PER_LINE = 16
_COLUMNS = 100
_KEYWORDS = frozenset(
    """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t char32_t class compl
    concept const consteval constexpr constinit const_cast continue co_await co_return co_yield decltype default
    delete do double dynamic_cast else enum explicit export extern false float for friend goto if inline int long main
    mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected public register
    reinterpret_cast requires restrict return short signed sizeof static static_assert static_cast struct switch
    template this thread_local throw true try typedef typeid typename union unsigned using virtual void volatile
    wchar_t while xor xor_eq
    """.split()  # noqa: SIM905 (a list of them would fill a screen)
)
"""Words of C and C++ that no array may be called."""


@dataclass(frozen=True)
class Output:
    """What a program has to know of a tensor at the model's door."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    params: QuantParams | None


@dataclass(frozen=True)
class Input(Output):
    """An input, and how it is filled; None where there is no function for its type."""

    normalize: Normalize | None


@dataclass(frozen=True)
class Source:
    """All that is written.

    Attributes:
        name: of the array, and of the files.
        content: the model file.
        origin: sentences for the head of each file.
        inputs: in order.
        outputs: likewise.
        normalization: in words.
        operators: what the program registers.
        arena_bytes: what the interpreter needs; None if that was not measured.
        arena_note: how it was measured, or why not.
        labels: of the first output's values.
    """

    name: str
    content: bytes
    origin: tuple[str, ...]
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    normalization: str
    operators: Operators
    arena_bytes: int | None
    arena_note: str
    labels: tuple[str, ...] = ()


def c_name(text: str) -> str:
    """A C identifier that resembles a text."""
    name = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_") or "model"
    return f"{name}_model" if name in _KEYWORDS else f"model_{name}" if name[0].isdigit() else name


def files(source: Source) -> dict[str, str]:
    """The text of each file by its name."""
    return {
        f"{source.name}.h": "\n".join([*_head(source), *_header(source)]),
        f"{source.name}.c": "\n".join([*_head(source), *_code(source)]),
        f"{source.name}_operators.h": "\n".join([*_head(source), *_operators(source)]),
    }


def _head(source: Source) -> list[str]:
    return ["/*", *(f" * {_comment(line)}" for line in source.origin), " */"]


def _header(source: Source) -> Iterator[str]:
    prefix = source.name.upper()
    yield f"#ifndef {prefix}_H_"
    yield f"#define {prefix}_H_"
    yield from ("", "#include <stdint.h>", "", "#ifdef __cplusplus", 'extern "C" {', "#endif", "")
    yield f"/* The .tflite file, aligned to {ALIGNMENT} bytes. */"
    yield f"extern const uint8_t {source.name}[];"
    yield f"extern const unsigned int {source.name}_len;"
    yield f"#define {prefix}_BYTES {len(source.content)}u"
    yield from ("", *_block(f"Tensor arena: {source.arena_note}."))
    if source.arena_bytes is not None:
        yield f"#define {prefix}_ARENA_BYTES {source.arena_bytes}u"
    for kind, tensors in (("input", source.inputs), ("output", source.outputs)):
        for number_, tensor in enumerate(tensors):
            yield from _tensor(f"{prefix}_{kind.upper()}_{number_}", f"{kind} {number_}", tensor)
    yield from (
        "",
        *_block(f"Normalization of raw samples: {source.normalization}. A function fills one sample's input."),
    )
    for item in source.inputs:
        if item.normalize is not None:
            yield from declarations(item.normalize)
    if source.labels:
        yield from ("", "/* Labels of the first output's values. */")
        yield f"extern const char *const {source.name}_labels[{len(source.labels)}];"
    yield from ("", "#ifdef __cplusplus", "}", "#endif", "", f"#endif /* {prefix}_H_ */", "")


def _tensor(prefix: str, what: str, tensor: Output) -> Iterator[str]:
    elements = 1
    for size in tensor.shape:
        elements *= size
    shape = ", ".join(map(str, tensor.shape))
    yield from ("", f"/* {what.capitalize()}, {_comment(repr(tensor.name))}: {tensor.dtype} [{shape}] */")
    yield f"#define {prefix}_ELEMENTS {elements}"
    yield f"#define {prefix}_SHAPE {{{shape}}}"
    if tensor.params is not None and isinstance(tensor.params.granularity, PerTensor):
        yield f"/* real = {prefix}_SCALE * (integer - {prefix}_ZERO_POINT) */"
        yield f"#define {prefix}_SCALE {number(tensor.params.scale)}"
        yield f"#define {prefix}_ZERO_POINT ({tensor.params.zero_point})"


def _code(source: Source) -> Iterator[str]:
    yield f'#include "{source.name}.h"'
    yield from ("", "#include <math.h>", "")
    yield from (
        "#if defined(__GNUC__) || defined(__clang__)",
        f"#define ALIGNED __attribute__((aligned({ALIGNMENT})))",
        "#elif defined(__ICCARM__)",
        f'#define ALIGNED _Pragma("data_alignment={ALIGNMENT}")',
        "#elif defined(_MSC_VER)",
        f"#define ALIGNED __declspec(align({ALIGNMENT}))",
        "#else",
        f'#error "say here how this compiler aligns an array to {ALIGNMENT} bytes"',
        "#endif",
        "",
    )
    yield f"ALIGNED const uint8_t {source.name}[] = {{"
    digits = [f"0x{value:02x}" for value in range(256)]
    for start in range(0, len(source.content), _BYTES_PER_LINE):
        yield f"    {', '.join(digits[byte] for byte in source.content[start : start + _BYTES_PER_LINE])},"
    yield "};"
    yield f"const unsigned int {source.name}_len = {len(source.content)}u;"
    yield ""
    for item in source.inputs:
        if item.normalize is not None:
            yield from definitions(item.normalize)
    if source.labels:
        yield f"const char *const {source.name}_labels[{len(source.labels)}] = {{"
        yield from (f"    {_string(label)}," for label in source.labels)
        yield from ("};", "")


def _operators(source: Source) -> Iterator[str]:
    prefix = source.name.upper()
    count = len(source.operators.calls) + len(source.operators.custom)
    yield f"#ifndef {prefix}_OPERATORS_H_"
    yield f"#define {prefix}_OPERATORS_H_"
    yield from ("", '#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"', "")
    for code in source.operators.custom:
        yield f"/* The kernel of the custom operator {_comment(repr(code))} is yours. */"
        yield f"TFLMRegistration* Register_{c_name(code)}();"
    yield from (f"#define {prefix}_OPERATORS {count}", "", "/* Registers what the model needs, and nothing else. */")
    yield "template <unsigned int size>"
    yield f"inline TfLiteStatus {source.name}_add_operators(tflite::MicroMutableOpResolver<size>& resolver) {{"
    yield f'  static_assert(size >= {count}, "the model has {count} kinds of operators");'
    for call in source.operators.calls:
        yield f"  if (resolver.{call}() != kTfLiteOk) return kTfLiteError;"
    for code in source.operators.custom:
        added = f"resolver.AddCustom({_string(code)}, Register_{c_name(code)}())"
        yield f"  if ({added} != kTfLiteOk) return kTfLiteError;"
    yield from ("  return kTfLiteOk;", "}", "", f"#endif  // {prefix}_OPERATORS_H_", "")


def _block(text: str) -> list[str]:
    """A comment of several lines."""
    return ["/*", *(f" * {line}" for line in textwrap.wrap(_comment(text), _COLUMNS, break_on_hyphens=False)), " */"]


def _comment(text: str) -> str:
    """A text that cannot end the comment it stands in."""
    one_line = " ".join(text.split())
    return one_line.replace("*/", "* /").replace("/*", "/ *").encode("ascii", "backslashreplace").decode()


def _string(text: str) -> str:
    """A string literal: everything but plain ASCII in octal, which no following digit changes."""
    plain = set(range(0x20, 0x7F)) - set(b'"\\?')
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode()) + '"'
