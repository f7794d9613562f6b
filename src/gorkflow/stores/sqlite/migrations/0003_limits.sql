-- They were never used. A lease is of a worker, not of a step: it costs the same for thousands, and
-- what the dead held is gone with them.
DROP TABLE limits;

DROP TABLE limit_leases;

-- `definition`: concurrency, rate and per of the newest run that uses the limit.
-- `starts`: from when, until when, how many; what started within the latest window of time.
CREATE TABLE limits (
    name       TEXT NOT NULL PRIMARY KEY,
    definition TEXT NOT NULL,
    defined_at REAL NOT NULL,
    starts     TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- `since`: since when the worker waits without getting any.
-- `unbegun`: its steps that were let in at a rate, and have not begun yet; `let_in_at`: the latest.
CREATE TABLE limit_leases (
    name      TEXT NOT NULL,
    worker_id TEXT NOT NULL,
    held      INTEGER NOT NULL,
    since     REAL,
    asked_at  REAL NOT NULL,
    unbegun   INTEGER NOT NULL,
    let_in_at REAL NOT NULL,
    PRIMARY KEY (name, worker_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX limit_leases_by_worker ON limit_leases (worker_id);
