"""What a method says of itself before it is made: its class, its hyper-parameters, its source."""

from __future__ import annotations

import inspect
import typing
from dataclasses import MISSING, fields, is_dataclass

from bench.api.method import Continuous, Discrete, Options
from bench.conformance.outcome import Broken, NotTried
from bench.conformance.subject import Subject
from bench.errors import UsageError
from bench.registry.plugins import look
from bench.registry.sources import reaches


def check_class(subject: Subject) -> str:
    """A `Continuous` or a `Discrete`, with nothing left abstract, and a frozen `Config`."""
    kind = subject.kind
    if not issubclass(kind, Continuous | Discrete):
        raise Broken(
            f"{kind.__name__} is neither a Continuous nor a Discrete.",
            "Derive it from bench.api.Continuous (it gives pieces) or Discrete (log_prob "
            "and inverse).",
        )
    if issubclass(kind, Continuous) and issubclass(kind, Discrete):
        raise Broken(f"{kind.__name__} is both a Continuous and a Discrete.", "Choose one.")
    if inspect.isabstract(kind):
        missing = ", ".join(sorted(kind.__abstractmethods__))
        raise Broken(f"{kind.__name__} does not say {missing}.", f"Write {missing}.")
    config = getattr(kind, "Config", None)
    if not (isinstance(config, type) and issubclass(config, Options) and is_dataclass(config)):
        raise Broken(
            f"{kind.__name__}.Config is no dataclass that derives from bench.api.Options.",
            f"Name its hyper-parameters there; Config = Options where {kind.__name__} has none.",
        )
    _check_options(config)
    sort = "continuous" if subject.is_continuous else "discrete"
    return f"{sort}, {len(fields(config))} hyper-parameters"


def _check_options(config: type[Options]) -> None:
    """Each hyper-parameter has a default of a plain type, and a meaning; none can be set later."""
    if not config.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise Broken(f"{config.__name__} is not frozen.", "Write @dataclass(frozen=True) above it.")
    try:
        typing.get_type_hints(config)
    except NameError as error:
        raise Broken(f"A type in {config.__name__} is not known: {error}.", "Import it.") from error
    for option in fields(config):
        where = f"{config.__name__}.{option.name}"
        remedy = f'Write {option.name}: TYPE = option(DEFAULT, "what it is").'
        if not str(option.metadata.get("doc", "")).strip():
            raise Broken(f"{where} does not say what it is.", remedy)
        if option.default is MISSING:
            raise Broken(f"{where} has no default.", remedy)
        if not isinstance(option.default, bool | int | float | str | None):
            kind = type(option.default).__name__
            raise Broken(f"{where} is a {kind}; a record can't keep that.", "Use plain types.")


def check_source(subject: Subject) -> str:
    """It imports no clock, no files, no data and no judge, and its `LOOK` can be read."""
    try:
        look(subject.name)
    except UsageError as error:
        raise Broken(error.problem, error.remedy) from error
    if not subject.files:
        raise NotTried("its source is not at hand")
    found = reaches(subject.files)
    if found:
        raise Broken(
            f"The source reaches further than a method may: {'; '.join(found)}.",
            "A method learns from its mini-batches alone: take that import or call out.",
        )
    return f"{len(subject.files)} files read" if subject.files[1:] else "1 file read"
