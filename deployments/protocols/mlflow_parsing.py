"""The thorough way through MLflow's scoring protocol: its own parser and schema enforcement.

MLflow and pandas are imported inside the functions: together they cost a second or two and
100 MB, which a gateway that sees only tensors should not pay.

Messages of MLflow's and pandas' that we pass on are cut short, since some quote the input.

Source:
    MLflow 3.17, `mlflow.pyfunc.scoring_server.invocations`.
"""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from io import BytesIO, StringIO
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from deployments.errors import MalformedRequestError, RequestTooLargeError
from deployments.protocols.conformance import count_rows
from deployments.protocols.model_params import cast_params
from deployments.protocols.signature import ParamsMismatchError, SignatureMismatchError
from deployments.protocols.tensors import UNNAMED_INPUT, Array, Layout, Request, Signature

if TYPE_CHECKING:
    from mlflow.models import ModelSignature
    from pandas import DataFrame
    from pyarrow.parquet import FileMetaData

FORMATS = ("dataframe_split", "dataframe_records", "instances", "inputs")

UNIFIED = ("messages", "prompt", "input")
"""Any of these makes the body one of MLflow's unified LLM form: the whole object is the input."""

MAX_REASON = 300
"""Longest text of MLflow's or pandas' that we quote, characters."""

MAX_PARQUET_BYTES = 256 * 1024 * 1024
"""Most that the tables in a Parquet body may take in memory, bytes: repetitions cost the file
nearly nothing, so that a body's own length, which doors limit, bounds nothing."""

NUMBER_BYTES = 8
"""What a value takes at least, or the pointer to one that is no number."""

ROW_OBJECT_BYTES = 128
"""What a row of a nested column takes beside its values: an array or a dict of its own."""

_T = TypeVar("_T")


def parse_json(body: bytes, signature: Signature) -> Request:
    """Read a JSON body in any of MLflow's forms.

    Raises:
        SignatureMismatchError: Inputs do not fit the signature.
        ParamsMismatchError: Params do not.
        MalformedRequestError: The body is no such JSON, or has no rows.
    """
    envelope = _load(body)
    if any(key in envelope for key in UNIFIED):
        return _unified(envelope, signature)
    given = [name for name in FORMATS if name in envelope]
    if len(given) != 1:
        raise MalformedRequestError(
            f"body has the fields {list(envelope)!r:.200}, expected exactly one of {list(FORMATS)}"
        )
    params = envelope.get("params")
    value = {given[0]: envelope[given[0]]}
    return _request(_parse(lambda schema: _infer(value, schema), signature), params, signature)


def parse_csv(body: bytes, signature: Signature) -> Request:
    """Read a CSV body with a header line.

    Raises:
        SignatureMismatchError: Columns do not fit the signature.
        MalformedRequestError: The body is no CSV in UTF-8, or has no rows.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise MalformedRequestError(
            f"body is not UTF-8 at byte {error.start}, expected CSV in UTF-8"
        ) from None
    return _request(_parse(lambda schema: _read_csv(text, schema), signature), None, signature)


def parse_parquet(body: bytes, signature: Signature) -> Request:
    """Read a Parquet body.

    Raises:
        SignatureMismatchError: Columns do not fit the signature.
        MalformedRequestError: The body is no Parquet, or has no rows.
        RequestTooLargeError: Its tables would take more than `MAX_PARQUET_BYTES`.
    """
    return _request(_parse(lambda _: _read_parquet(body), signature), None, signature)


def _load(body: bytes) -> dict[str, Any]:
    try:
        envelope = json.loads(body)
    except RecursionError:
        raise MalformedRequestError("body is nested too deeply") from None
    except ValueError as error:
        raise MalformedRequestError(f"body is not JSON: {_reason(error)}") from None
    if not isinstance(envelope, dict):
        raise MalformedRequestError(
            f"body is of type {type(envelope).__name__}, "
            f"expected an object with exactly one of {list(FORMATS)}"
        )
    return envelope


def _unified(envelope: dict[str, Any], signature: Signature) -> Request:
    if signature.layout is not Layout.COLUMNS:
        # The kinds differ as MLflow's do: it first finds a signature violated, or no format given.
        kind = SignatureMismatchError if signature.inputs else MalformedRequestError
        raise kind(
            f"body has one of {list(UNIFIED)}, MLflow's form for language models, "
            "but the model's signature has no columns for it"
        )
    specs = json.loads(signature.mlflow.get("params") or "[]")
    names = {spec["name"] for spec in specs}
    params = {name: value for name, value in envelope.items() if name in names}
    inputs = {name: value for name, value in envelope.items() if name not in names}
    return _request(inputs, params, signature, wrapped=False)


def _infer(value: dict[str, Any], schema: Any) -> Any:
    from mlflow.pyfunc.scoring_server import infer_and_parse_data  # noqa: PLC0415

    return infer_and_parse_data(value, schema)


def _read_csv(text: str, schema: Any) -> "DataFrame":
    from mlflow.pyfunc.scoring_server import parse_csv_input  # noqa: PLC0415

    frame: DataFrame = parse_csv_input(StringIO(text), schema)
    return frame


def _read_parquet(body: bytes) -> "DataFrame":
    from mlflow.pyfunc.scoring_server import parse_parquet_input  # noqa: PLC0415

    _check_parquet(body)
    frame: DataFrame = parse_parquet_input(BytesIO(body))  # type: ignore[no-untyped-call]
    return frame


def _check_parquet(body: bytes) -> None:
    """Compute what a file takes in memory before it is read.

    Raises:
        RequestTooLargeError: That is too much.
    """
    from pyarrow.parquet import read_metadata  # noqa: PLC0415

    size_bytes, most_bytes = _sizes(read_metadata(BytesIO(body)))
    # No text is longer than all that its column stores: mostly that is bound enough.
    suspects = [path for path, most in most_bytes.items() if size_bytes + most > MAX_PARQUET_BYTES]
    if size_bytes <= MAX_PARQUET_BYTES and suspects:
        size_bytes += _texts_bytes(body, suspects)
    if size_bytes > MAX_PARQUET_BYTES:
        raise RequestTooLargeError(size_bytes, MAX_PARQUET_BYTES)


def _sizes(metadata: "FileMetaData") -> tuple[int, dict[str, int]]:
    """What all values take but for texts that repeat, and what these may take, by column.

    Args:
        metadata: The file's, which says how many values there are, but not how long.
    """
    size_bytes = 0
    most_bytes: dict[str, int] = {}
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for index in range(metadata.num_columns):
            column, chunk = metadata.schema.column(index), group.column(index)
            values = max(group.num_rows, chunk.num_values)
            stored_bytes = chunk.total_uncompressed_size
            size_bytes += max(values * max(column.length, NUMBER_BYTES), stored_bytes)
            if column.max_repetition_level:
                size_bytes += group.num_rows * ROW_OBJECT_BYTES
            if column.physical_type != "BYTE_ARRAY":
                continue
            if "DELTA_BYTE_ARRAY" in chunk.encodings:
                size_bytes += values * stored_bytes  # pyarrow cannot read these as they are stored
            elif chunk.has_dictionary_page:
                most = most_bytes.get(column.path, 0)
                most_bytes[column.path] = most + values * stored_bytes
    return size_bytes, most_bytes


def _texts_bytes(body: bytes, columns: list[str]) -> int:
    """What the texts of some columns take once each has a place of its own.

    They are read as the file has them: each text once, and which of them each row has.
    """
    import pyarrow.compute as pc  # noqa: PLC0415
    from pyarrow.parquet import ParquetFile  # noqa: PLC0415

    size_bytes = 0
    for path in columns:  # one at a time: the others are not needed for it
        table = ParquetFile(BytesIO(body), read_dictionary=[path]).read(columns=[path])
        chunks = [chunk for column in table.columns for chunk in column.chunks]
        for leaf in itertools.chain.from_iterable(map(_leaves, chunks)):
            lengths = pc.binary_length(leaf.dictionary)
            size_bytes += pc.sum(lengths.take(leaf.indices)).as_py() or 0
    return size_bytes


def _leaves(array: Any) -> Iterator[Any]:
    """The dictionary arrays in an array, which may be nested."""
    from pyarrow import types  # noqa: PLC0415

    if types.is_dictionary(array.type):
        yield array
    elif types.is_nested(array.type):
        inner = [array.keys, array.items] if types.is_map(array.type) else array.flatten()
        for each in inner if isinstance(inner, list) else [inner]:
            yield from _leaves(each)


def _parse(parse: Callable[[Any], _T], signature: Signature) -> _T:
    """Run one of MLflow's parsers; it raises BAD_REQUEST for what is not well-formed."""
    try:
        return parse(_mlflow_signature(signature).inputs if signature.inputs else None)
    except RecursionError:
        raise MalformedRequestError("body is nested too deeply") from None
    except RequestTooLargeError:
        raise
    except Exception as error:  # noqa: BLE001 - MLflow, pandas and pyarrow raise what they like.
        raise MalformedRequestError(f"body cannot be read: {_reason(error)}") from None


def _request(parsed: Any, params: Any, signature: Signature, *, wrapped: bool = True) -> Request:
    if signature.inputs:
        parsed = _enforce(parsed, signature)
    inputs, layout, labels = _arrays(parsed, signature)
    return Request(
        inputs=inputs,
        rows=count_rows(inputs),
        params=_params(params, signature),
        layout=layout,
        labels=labels,
        wrapped=wrapped,
    )


def _enforce(parsed: Any, signature: Signature) -> Any:
    from mlflow.models.utils import _enforce_schema  # noqa: PLC0415

    try:
        return _enforce_schema(parsed, _mlflow_signature(signature).inputs)
    except Exception as error:  # noqa: BLE001 - as in `mlflow.pyfunc._validate_prediction_input`.
        raise SignatureMismatchError(
            f"input does not fit the model's signature: {_reason(error)}"
        ) from None


def _params(params: Any, signature: Signature) -> dict[str, Any]:
    if not signature.mlflow.get("params"):
        return {}
    if not isinstance(params, Mapping | None):
        raise ParamsMismatchError(f"params is of type {type(params).__name__}, expected an object")
    return cast_params(params or {}, signature)


@lru_cache(maxsize=256)
def _parsed_signature(inputs: str, params: str | None) -> "ModelSignature":
    from mlflow.models import ModelSignature  # noqa: PLC0415

    signature: ModelSignature = ModelSignature.from_dict({"inputs": inputs, "params": params})
    return signature


def _mlflow_signature(signature: Signature) -> "ModelSignature":
    return _parsed_signature(signature.mlflow["inputs"], signature.mlflow.get("params"))


def _arrays(parsed: Any, signature: Signature) -> tuple[dict[str, Array], Layout, tuple[Any, ...]]:
    from pandas import DataFrame  # noqa: PLC0415

    match parsed:
        case DataFrame():
            return _columns(parsed)
        case dict():
            tensors = {str(name): _rows(value) for name, value in parsed.items()}
            return tensors, Layout.NAMED_TENSORS, ()
        case _:
            name = signature.inputs[0].name if signature.inputs else UNNAMED_INPUT
            return {name: _rows(parsed)}, Layout.TENSOR, ()


def _columns(frame: "DataFrame") -> tuple[dict[str, Array], Layout, tuple[Any, ...]]:
    labels = tuple(frame.columns)
    arrays = {str(label): frame.iloc[:, index].to_numpy() for index, label in enumerate(labels)}
    if len(arrays) != len(labels):
        raise MalformedRequestError(
            f"columns {list(labels)!r:.200} repeat, expected each name once"
        )
    plain = all(isinstance(label, str) for label in labels)
    return arrays, Layout.COLUMNS, () if plain else labels


def _rows(value: Any) -> Array:
    if isinstance(value, list):
        # Objects, as MLflow hands them to a model without a signature.
        array = np.empty(len(value), dtype=object)
        array[:] = value
        return array
    return np.atleast_1d(np.asarray(value))


def _reason(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text if len(text) <= MAX_REASON else f"{text[:MAX_REASON]}..."
