"""Naming a handler, so that another process can make it: an import path and JSON arguments."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import InputError

__all__ = ["HANDLER_VARIABLE", "Handler", "HandlerSpec"]

Handler = Callable[[bytes], bytes]

HANDLER_VARIABLE = "EDGECLOUD_HANDLER"
"""Environment variable that holds `HandlerSpec.to_json` in workers, functions and containers."""


@dataclass(frozen=True)
class HandlerSpec:
    """A factory of handlers by its import path, and the keyword arguments that it is called with.

    It comes from the operator (settings, environment), never from a message.

    >>> spec = HandlerSpec("edgecloud.runtime.cloud.echo:make_handler", {"prefix": "hello "})
    >>> HandlerSpec.from_json(spec.to_json()).make()(b"you")
    b'hello you'
    """

    path: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line of JSON for `HANDLER_VARIABLE`."""
        return json.dumps({"path": self.path, "arguments": dict(self.arguments)})

    @classmethod
    def from_json(cls, text: str) -> HandlerSpec:
        """Read what `to_json` wrote; a bare ``module:function`` is taken as a path without arguments.

        Raises:
            InputError: it is neither.
        """
        if not text.lstrip().startswith("{"):
            return cls(text.strip())
        try:
            raw = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(HANDLER_VARIABLE, "", f"must be JSON ({error})", text) from error
        arguments = raw.get("arguments", {})
        if set(raw) - {"path", "arguments"} or not isinstance(raw.get("path"), str) or not isinstance(arguments, dict):
            raise InputError(HANDLER_VARIABLE, "", 'must be {"path": "module:function", "arguments": {…}}', text)
        return cls(raw["path"], arguments)

    def factory(self) -> Callable[..., Any]:
        """Import the factory.

        Raises:
            InputError: there is no such factory.
        """
        module, _, name = self.path.partition(":")
        try:
            found: Callable[..., Any] = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise InputError(HANDLER_VARIABLE, "path", f"must be module:function ({error})", self.path) from error
        return found

    def make(self) -> Handler:
        """Import the factory and call it.

        Raises:
            InputError: there is no such factory, or it does not take these arguments.
        """
        factory = self.factory()
        try:
            handler = factory(**self.arguments)
        except TypeError as error:
            raise InputError(
                HANDLER_VARIABLE, "arguments", f"must fit {self.path} ({error})", self.arguments
            ) from error
        if not callable(handler):
            raise InputError(HANDLER_VARIABLE, "path", "must return a function of bytes", self.path)
        made: Handler = handler
        return made
