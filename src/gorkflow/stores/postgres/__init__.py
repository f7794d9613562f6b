"""The PostgreSQL store: a database, shared by any number of processes of any number of machines."""

from gorkflow.stores.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
