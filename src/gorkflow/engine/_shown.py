"""Values for views: of their types where these can be read, else plain data, and why."""

from __future__ import annotations

import copy
from typing import Any

from gorkflow.engine._values import Values
from gorkflow.errors import ValueInvalidError
from gorkflow.events import Ended, FailureRef, Ref
from gorkflow.model import Failure, Outcome


class Shown:
    """Reads values for views: what can't be read as its type any more is plain data.

    Args:
        values: of the run.
    """

    def __init__(self, values: Values) -> None:
        self._values = values

    def shown(self, given: Ref, made: Ref) -> tuple[Any, Any, str]:
        """Return an input, an output, and why one is plain data; empty: it is not."""
        found: list[Any] = []
        why: list[str] = []
        for name, ref in (("input", given), ("output", made)):
            try:
                found.append(self._values.value(ref))
            except ValueInvalidError as error:
                found.append(self._plain.value(ref))
                why.append(f"its {name} is plain data: {error}")
        return found[0], found[1], "; ".join(why)

    def failure(self, ref: FailureRef) -> Failure:
        """Return the failure that a reference means."""
        return self._values.failure(ref)

    def outcome(self, ended: Ended) -> Outcome[Any]:
        """Return how a step or branch ended."""
        try:
            return self._values.outcome(ended)
        except ValueInvalidError:
            return self._plain.outcome(ended)

    @property
    def _plain(self) -> Values:
        found = copy.copy(self._values)
        found.forget_types()
        return found
