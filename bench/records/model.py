"""The record of a run as frozen dataclasses, and the check of what a file holds against them.

The layout is that of `record.json`: each dataclass is one of its tables. A key that is not known is
ignored; a known one of another type is a `Damaged` record, and the error names the key.
"""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any, Literal, TypedDict, get_args

import msgspec

from bench.api.declarations import Metric
from bench.errors import DataError
from bench.records.catalogue import columns
from bench.registry import plugins

#: The layout of `record.json`. A program reads records of its own layout and older ones.
FORMAT = 1

#: How a run can end.
Status = Literal["ok", "diverged", "timeout", "oom", "error"]
STATUSES: tuple[Status, ...] = get_args(Status)

Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]

#: A name that a folder is named after, and the name of a user's file.
Name = Annotated[str, msgspec.Meta(pattern=plugins.NAME)]
FileName = Annotated[str, msgspec.Meta(pattern=plugins.FILE_NAME)]

#: A hyper-parameter, or a field of the judge.
Setting = float | int | str | bool | None | list[Any]

#: The tables whose keys are columns of the catalogue, with others beside them.
TABLES = ("training", "metrics", "cost", "judge")


class Damaged(DataError):
    """A record, or a file beside it, that is not what was written: cut off, or edited by hand."""


@dataclass(frozen=True, kw_only=True)
class MethodRecord:
    """What learned: `version` is a hash of its source, `params` the numbers fitted to the data.

    `settings` are the user's own among the hyper-parameters; older records do not have them.
    `compiled` is whether its functions were compiled (`--compile`).
    """

    name: Name
    version: str
    config: dict[str, Setting]
    preset: str | None = None
    settings: dict[str, Setting] | None = None
    params: Count | None = None
    compiled: bool = False


@dataclass(frozen=True, kw_only=True)
class SplitSizes:
    """The rows of each split."""

    train: Count | None = None
    validation: Count | None = None
    test: Count | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetRecord:
    """The rows: `revision` is their hash. A run that failed early knows only its first two."""

    name: FileName
    revision: str
    kind: str | None = None
    note: str | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    subset: bool | None = None
    d: Count | None = None
    entropy: float | None = None
    rows: SplitSizes = SplitSizes()


@dataclass(frozen=True, kw_only=True)
class BudgetRecord:
    """What the run was given: mini-batches, and rows in each."""

    minibatches: Count
    batch_size: Count
    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class EnvironmentRecord:
    """Where the run was made; a run whose process died knows its device alone.

    `arithmetic` is a hash of the bits of a fixed computation, in a run of `bench check`.
    """

    device: str
    threads: Count | None = None
    cpu: str | None = None
    cpu_capability: str | None = None
    cores: Count | None = None
    gpu: str | None = None
    python: str | None = None
    platform: str | None = None
    packages: dict[str, str | None] = field(default_factory=dict)
    commit: str | None = None
    arithmetic: str | None = None


@dataclass(frozen=True, kw_only=True)
class SessionRecord:
    """A stretch of a run: after which mini-batch it began, when, and with how many threads."""

    after: Count
    started: str
    threads: Count


@dataclass(frozen=True, kw_only=True)
class QualityRecord:
    """Samples by `steps` Euler steps in each piece (None for the judge's solver, and of old).

    `nfe` are their evaluations, `mmd_m` their squared MMD; None where the solver failed.
    """

    solver: str
    nfe: float | None
    mmd_m: float | None
    mmd_m_u: float | None = None
    steps: Count | None = None


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a run leaves, however it ended.

    `training`, `metrics` and `cost` hold the values of the catalogue's columns that the run has,
    `judge` the fields of `bench.records.spec.Judge` as they were. `include` names the files that
    held the method or the data set, `output` the last lines of a process that died,
    `left_behind` the size of files that stayed on a worker, `metric_versions` the hashes of the
    metrics that plug-ins brought. `digests` are the SHA-256 of the files beside the record, and of
    the arrays in them, `digest` that of the record itself; older records have neither.
    """

    format: int
    run: Name
    key: str
    status: Status
    method: MethodRecord
    dataset: DatasetRecord
    budget: BudgetRecord
    seed: Count
    judge: dict[str, Setting]
    environment: EnvironmentRecord
    started: str
    reason: str | None = None
    finished: str | None = None
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)
    sessions: tuple[SessionRecord, ...] = ()
    include: tuple[str, ...] = ()
    output: tuple[str, ...] = ()
    left_behind: dict[str, Any] = field(default_factory=dict)
    metric_versions: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] | None = None
    digest: str | None = None

    @property
    def quality(self) -> tuple[QualityRecord, ...]:
        """Samples by evaluations of the velocity; the last are those of the judge's solver."""
        return tuple(self.metrics.get("quality") or ())


_DECODER = msgspec.json.Decoder(Record)


def sealed(text: str) -> bytes:
    """A JSON object as bytes, with the SHA-256 of all that comes before it in the last line."""
    body = text.rstrip().removesuffix("}").rstrip().encode() + b",\n"
    return body + _seal(body)


def is_intact(text: bytes) -> bool:
    """Whether a text is as `sealed` made it."""
    length = len(_seal(b""))
    return text[-length:] == _seal(text[:-length])


def _seal(body: bytes) -> bytes:
    return b' "digest": "%s"\n}\n' % hashlib.sha256(body).hexdigest().encode()


def decode(text: bytes, where: str, run: str) -> Record:
    """The record of a run that a JSON text holds; `where` is its file, for the error.

    Raises:
        Damaged: it is no JSON, a key is missing or has a value of another type, it is not what its
            digest says, or it is another run's.
        DataError: a newer program wrote it.
    """
    problem, cause = "", None
    try:
        record = _DECODER.decode(text)
        tables = msgspec.convert(vars(record), _types(tuple(plugins.metrics().values())))
        for name, values in tables.items():
            getattr(record, name).update(values)
        layout = record.format
        if (record.digests, record.digest) != (None, None) and not is_intact(text):
            problem = "it has changed since it was written"
        elif record.run != run:
            problem = f"it is that of the run {record.run}"
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        layout, cause = _layout(text), error
        problem = _reason(error, text) if layout <= FORMAT else ""
    if problem:
        raise Damaged(
            f"The record {where} is damaged: {problem}.",
            "Move its folder away, and run that cell again.",
        ) from cause
    if layout > FORMAT:
        raise DataError(
            f"The record {where} has layout {layout}; this version reads up to {FORMAT}.",
            "Install a newer cnf-bench.",
        )
    return record


def _layout(text: bytes) -> int:
    """The layout that a text names; 0 where it names none."""
    try:
        found = msgspec.json.decode(text, type=dict[str, Any]).get("format")
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return 0
    return found if isinstance(found, int) else 0


@lru_cache
def _types(plug_ins: tuple[Metric, ...]) -> Any:
    """The types of `TABLES` by the catalogue, no key required; plug-ins add columns."""
    kinds: dict[str, Any] = {"number": float, "whole": Count, "flag": bool, "text": str}
    types: dict[str, dict[str, Any]] = {name: {} for name in TABLES}
    for column in columns().values():
        if column.path and column.path[0] in TABLES:
            types[column.path[0]][column.path[1]] = kinds[column.type] | None
    types["metrics"] |= {
        "w2_movement": list[float | None] | None,
        "quality": tuple[QualityRecord, ...] | None,
    }
    make: Any = TypedDict
    return make("Tables", {name: make(name, keys, total=False) for name, keys in types.items()})


def _reason(error: Exception, text: bytes) -> str:
    """msgspec's message with the key in a user's words: `method.name`, not `$.method.name`."""
    if isinstance(error, RecursionError):
        return f"{_key_before(text, _DEEP)} is nested too deeply"
    if not isinstance(error, msgspec.ValidationError):
        with suppress(ValueError, RecursionError):  # Python's parser lets surrogates pass
            json.loads(text)
            return f"{_key_before(text, _SURROGATE)} is not valid Unicode text"
    said = str(error).replace("`$.", "`").replace("`$`", "the top level")
    said = re.sub("`str` matching regex '.*'", "a plain name", said)
    return f"{said[:1].lower()}{said[1:]}"


#: A key whose value is nested more than 200 deep, and one whose text has half of a surrogate pair.
_DEEP = re.compile(rb'"(\w+)"\s*:\s*(?:[\[{]\s*(?:"[^"]*"\s*:\s*)?){200}')
_SURROGATE = re.compile(rb'"(\w+)"\s*:\s*"(?:[^"\\]|\\.)*?\\u[dD][89a-fA-F]')


def _key_before(text: bytes, pattern: re.Pattern[bytes]) -> str:
    found = pattern.search(text)
    return f"`{found[1].decode()}`" if found else "it"
