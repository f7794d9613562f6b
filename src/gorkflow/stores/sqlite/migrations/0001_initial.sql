-- Flow trees, kept once for all the runs that execute them.
CREATE TABLE definitions (
    fingerprint TEXT NOT NULL PRIMARY KEY,
    tree        TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- One summary per run, rewritten by every append: never a payload in here.
CREATE TABLE runs (
    key              INTEGER PRIMARY KEY,
    run_id           TEXT NOT NULL UNIQUE,
    workflow_id      TEXT NOT NULL,
    workflow_version TEXT NOT NULL,
    fingerprint      TEXT NOT NULL,
    status           TEXT NOT NULL,
    reason           TEXT NOT NULL,
    resource_id      TEXT,
    tags             TEXT NOT NULL,
    created_at       REAL NOT NULL,
    started_at       REAL,
    finished_at      REAL,
    due_at           REAL,
    seq              INTEGER NOT NULL,
    worker_id        TEXT,
    token            INTEGER NOT NULL
) STRICT;

CREATE INDEX runs_by_age ON runs (created_at, run_id);

CREATE INDEX runs_by_status ON runs (status, created_at, run_id);

CREATE INDEX runs_by_workflow ON runs (workflow_id, created_at, run_id);

CREATE INDEX runs_by_resource ON runs (resource_id, created_at, run_id)
WHERE resource_id IS NOT NULL;

CREATE INDEX runs_to_claim ON runs (worker_id, due_at, created_at, run_id, workflow_id)
WHERE status IN ('pending', 'running', 'suspended');

-- The age is repeated here so that a page of tagged runs is read in order from the key alone.
CREATE TABLE run_tags (
    name       TEXT NOT NULL,
    value      TEXT NOT NULL,
    created_at REAL NOT NULL,
    run_id     TEXT NOT NULL,
    run        INTEGER NOT NULL,
    PRIMARY KEY (name, value, created_at, run_id)
) STRICT, WITHOUT ROWID;

-- Append-only. Writers take turns, so the id rises in the order of the commits; AUTOINCREMENT keeps
-- an id from being given twice after a deletion, which a reader's cursor would miss.
CREATE TABLE events (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    run     INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    path    TEXT NOT NULL,
    at      REAL NOT NULL,
    v       INTEGER NOT NULL,
    body    TEXT NOT NULL,
    payload BLOB,
    UNIQUE (run, seq)
) STRICT;

CREATE TABLE inbox (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    run  INTEGER NOT NULL,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    at   REAL NOT NULL
) STRICT;

CREATE INDEX inbox_by_run ON inbox (run);

-- `machine` says where the worker's lock file tells the truth about its death.
CREATE TABLE workers (
    worker_id  TEXT NOT NULL PRIMARY KEY,
    started_at REAL NOT NULL,
    seen_at    REAL NOT NULL,
    lease      REAL NOT NULL,
    host       TEXT NOT NULL,
    pid        INTEGER NOT NULL,
    machine    TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- For limits shared by all workers of this file; not used yet.
CREATE TABLE limits (
    name        TEXT NOT NULL PRIMARY KEY,
    tokens      REAL NOT NULL,
    refilled_at REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE limit_leases (
    name      TEXT NOT NULL,
    run       INTEGER NOT NULL,
    path      TEXT NOT NULL,
    attempt   INTEGER NOT NULL,
    worker_id TEXT NOT NULL,
    taken_at  REAL NOT NULL,
    PRIMARY KEY (name, run, path)
) STRICT, WITHOUT ROWID;
