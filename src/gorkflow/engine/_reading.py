"""What is recorded of a run, where it may have been damaged: whatever goes wrong has a type."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager

from gorkflow.errors import GorkflowError, StoreCorruptError

logger = logging.getLogger("gorkflow.engine")


@contextmanager
def reading(run_id: str) -> Generator[None]:
    """Say that a run is damaged, where making sense of its rows fails in a way nobody foresaw.

    Rows are checked as they are read. But what they say together may still be nonsense, and that
    breaks anything: a path of no node, a loop that never began, an index into a text.

    Raises:
        StoreCorruptError: in place of a foreign error.
    """
    try:
        yield
    except GorkflowError:
        raise
    except Exception as error:
        logger.debug("run %r makes no sense", run_id, exc_info=True)
        raise StoreCorruptError(
            f"what is recorded of run {run_id!r} makes no sense ({type(error).__name__}: {error}); "
            f"restore it from a backup, or delete it: gorkflow runs delete {run_id} --force"
        ) from error
