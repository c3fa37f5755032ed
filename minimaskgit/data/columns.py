"""The two columns of a table that training needs, and which Arrow types they may have.

schema of a table ──check_columns──> an image column: encoded images; a label column: class numbers or names
"""

import re

import pyarrow as pa

from minimaskgit.common.errors import UserError

T = pa.types
NAMES = {"double": "float64", "float": "float32", "halffloat": "float16"}  # Arrow's own are less known
IMAGES = "expected encoded images (PNG, JPEG, ...), as bytes or {bytes, path}"
LABELS = "expected class numbers or names"


def check_columns(schema: pa.Schema, image: str, label: str, source: str) -> None:
    """UserError unless the columns called `image` and `label` are there and hold encoded images and labels."""
    for column, option in ((image, "image"), (label, "label")):
        if schema.names.count(column) != 1:
            has = ", ".join(f"{field.name} ({type_name(field.type)})" for field in schema)
            problem = "several columns" if column in schema.names else "no column"
            raise UserError(f"{source}: {problem} {column!r}; it has {has}; choose with --images.{option}-column NAME")
    if problem := _image_problem(schema.field(image).type):
        raise UserError(f"{source}: column {image!r} holds {type_name(schema.field(image).type)}, {problem}")
    kind = schema.field(label).type
    if label_dtype(kind) is None:
        several = "; a picture has one class here, so keep one of its labels" if _is_list(kind) else ""
        raise UserError(f"{source}: column {label!r} holds {type_name(kind)}; {LABELS}, one in a row{several}")


def label_dtype(kind: pa.DataType) -> str | None:
    """The type as which labels of an Arrow type are read, by its name in `datasets`; None if it cannot hold labels."""
    kind = _stored(kind)
    if _is_text(kind):
        return "string"
    if _is_binary(kind):
        return "binary"
    if T.is_floating(kind):
        return "float64"
    if T.is_integer(kind):
        return "uint64" if kind == pa.uint64() else "int64"
    return str(kind) if T.is_boolean(kind) or T.is_null(kind) else None


def type_name(kind: pa.DataType) -> str:
    """An Arrow type in a few words: int64, list<uint8>, {bytes, path}."""
    kind = _stored(kind)
    if T.is_struct(kind):
        return f"{{{', '.join(field.name for field in kind)}}}"
    if _is_list(kind):
        return f"list<{type_name(kind.value_type)}>"
    return re.sub(r"\w+", lambda word: NAMES.get(word[0], word[0]), str(kind))


def _image_problem(kind: pa.DataType) -> str:
    """Why a column cannot hold encoded images, and what to do; "" if it can."""
    kind = _stored(kind)
    if T.is_struct(kind):
        parts = {field.name: field.type for field in kind}
        content, paths = parts.get("bytes", pa.null()), _is_text(parts.get("path"))
        if _is_binary(content) or (paths and T.is_null(content)):
            return ""
    if _is_binary(kind):
        return ""
    if _is_text(kind):
        return f"not images; {IMAGES}: read the files that it names, or decode it if it is base64"
    if _is_list(kind):
        while _is_list(kind):
            kind = _stored(kind).value_type
        numbers = T.is_integer(kind) or T.is_floating(kind)
        return f"not images; {IMAGES}: {'save these pixels as PNG' if numbers else 'put each in a row of its own'}"
    return f"not images; {IMAGES}"


def _stored(kind: pa.DataType) -> pa.DataType:
    """The plain type below an extension type, such as that of Array3D, or below pandas' categories."""
    if isinstance(kind, pa.BaseExtensionType):
        return kind.storage_type
    return kind.value_type if T.is_dictionary(kind) else kind


def _is_text(kind: pa.DataType | None) -> bool:
    return kind is not None and (T.is_string(kind) or T.is_large_string(kind) or T.is_string_view(kind))


def _is_binary(kind: pa.DataType | None) -> bool:
    return kind is not None and (T.is_binary(kind) or T.is_large_binary(kind) or T.is_binary_view(kind))


def _is_list(kind: pa.DataType) -> bool:
    kind = _stored(kind)
    return T.is_list(kind) or T.is_large_list(kind) or T.is_fixed_size_list(kind) or T.is_list_view(kind)
