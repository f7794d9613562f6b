"""Messages for runs: posted."""

from __future__ import annotations

from gorkflow.store import HintKind, Message
from gorkflow.stores.postgres._arrays import escaped
from gorkflow.stores.postgres._connections import Db


def post(db: Db, message: Message) -> bool:
    values = message._asdict() | {"body": escaped(message.body)}
    found = db.rows("insert_message", **values)
    for workflow_id, worker_id, number in found:
        db.transaction_number = number
        if worker_id is None:
            db.hints[HintKind.QUEUED, workflow_id] = None
        else:
            db.hints[HintKind.MAIL, worker_id] = None
    return bool(found)
