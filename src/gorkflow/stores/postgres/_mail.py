"""Messages for runs: posted."""

from __future__ import annotations

from gorkflow.store import Message
from gorkflow.stores.postgres._arrays import escaped
from gorkflow.stores.postgres._connections import Db


def post(db: Db, message: Message) -> bool:
    values = message._asdict() | {"body": escaped(message.body)}
    return db.change("insert_message", **values) > 0
