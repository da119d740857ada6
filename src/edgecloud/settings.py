"""Reading a validated TOML file: one way for scenarios, price lists and catalogues."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from .errors import InputError, did_you_mean

__all__ = ["read_settings", "toml_literal", "toml_text"]

Model = TypeVar("Model", bound=BaseModel)


def read_settings(name_or_path: str | Path, model: type[Model], shipped: Path, kind: str) -> Model:
    """Read a shipped file by its name, or any file by its path, and validate it.

    Args:
        name_or_path: A name without a suffix, or a path.
        model: The pydantic model that the content must fit.
        shipped: Folder of the files that come with the package.
        kind: What the file is, for messages.

    Raises:
        InputError: No such file, not TOML, an unknown key (with the nearest known one), or a value that breaks a rule.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = shipped / f"{name_or_path}.toml"
        if not path.is_file():
            known = [file.stem for file in shipped.glob("*.toml")]
            remedy = f"{did_you_mean(str(name_or_path), known)}; or give the path of a .toml file"
            raise InputError(kind, "", "must be a shipped name or a .toml file", str(name_or_path), remedy)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(path, "", f"must be a readable {kind} file ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(path, "", f"must be valid TOML ({error})") from error
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise _first_problem(path, model, error) from error


def _first_problem(path: Path, model: type[BaseModel], error: ValidationError) -> InputError:
    """The first thing that is wrong, as one line."""
    problems = error.errors()
    # An unknown key is usually a required one misspelt: say so first.
    problem = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    where = [str(part) for part in problem["loc"]]
    field = ".".join(where)
    if problem["type"] == "extra_forbidden":
        known = list(_fields_at(model, where[:-1]))
        return InputError(path, field, "is an unknown key", problem["input"], did_you_mean(where[-1], known))
    if problem["type"] == "missing":
        return InputError(path, field, "is required")
    value = None if isinstance(problem["input"], (dict, BaseModel)) else problem["input"]
    rule = problem["msg"].removeprefix("Value error, ")
    return InputError(path, field, rule[:1].lower() + rule[1:], value)


def _fields_at(model: type[BaseModel], where: list[str]) -> Iterator[str]:
    """Names of the fields of the model that a location lies in."""
    current: Any = model
    for part in where:
        field = current.model_fields.get(part) if _is_model(current) else None
        current = field.annotation if field else next((a for a in get_args(current) if _is_model(a)), current)
    for candidate in (current, *get_args(current)):
        if _is_model(candidate):
            yield from candidate.model_fields


def _is_model(candidate: Any) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, BaseModel)


def toml_literal(value: Any) -> str:
    """A value as TOML.

    >>> toml_literal((1.5, True, "a")), toml_literal({"k.x": 1})
    ('[1.5, true, "a"]', '{"k.x" = 1}')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(toml_literal(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, str):
        return json.dumps(value)
    return repr(value)


def toml_text(settings: BaseModel) -> str:
    """Settings as a file that `read_settings` reads: plain values first, then a table per section; None is left out."""
    content = settings.model_dump()
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    lines = [
        f"{key} = {toml_literal(value)}" for key, value in content.items() if key not in tables and value is not None
    ]
    for name, table in tables.items():
        lines += ["", f"[{name}]"]
        lines += [
            f"{key if key.isidentifier() else json.dumps(key)} = {toml_literal(value)}"
            for key, value in table.items()
            if value is not None
        ]
    return "\n".join(lines) + "\n"
