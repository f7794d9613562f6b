-- Flow trees, kept once for all the runs that execute them.
CREATE TABLE definitions (
    fingerprint TEXT NOT NULL PRIMARY KEY,
    tree        TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- One summary per run: never a payload in here. `seq` is that of the event with which the summary
-- was written last; the events tell the latest.
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
    token            INTEGER NOT NULL,
    priority         INTEGER NOT NULL DEFAULT 0,
    exclusive        INTEGER NOT NULL DEFAULT 0,
    -- The latest message that the owner knew of when it suspended the run.
    seen             INTEGER NOT NULL DEFAULT 0,
    -- The latest message that was ever posted to it.
    mailed           INTEGER NOT NULL DEFAULT 0,
    -- Whether an owner died with the run since the latest append: its step may be what killed it.
    orphaned         INTEGER NOT NULL DEFAULT 0,
    -- The trace that the run belongs to, as its observers write it.
    trace            TEXT NOT NULL DEFAULT '',
    -- The names of the signals that it waits for now, as JSON.
    waits_for        TEXT NOT NULL DEFAULT '[]',
    -- What is to be called when it has ended, as bits.
    hooks            INTEGER NOT NULL DEFAULT 0,
    -- Only workers that name it claim the run.
    queue            TEXT NOT NULL DEFAULT 'default',
    -- 1: it waits for its resource; 2: it waited, and has it; 0: it never waits.
    line             INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX runs_by_age ON runs (created_at, run_id);

CREATE INDEX runs_by_status ON runs (status, created_at, run_id);

-- A list of one workflow's runs of some statuses reads nothing but them; without a status it merges
-- those of each.
CREATE INDEX runs_by_workflow ON runs (workflow_id, status, created_at, run_id);

CREATE INDEX runs_by_resource ON runs (resource_id, created_at, run_id)
WHERE resource_id IS NOT NULL;

-- One index for all of this made a claim pass by every run that slept, or that nobody here knows.
CREATE INDEX runs_owned ON runs (worker_id, queue)
WHERE worker_id IS NOT NULL AND status IN ('pending', 'running', 'suspended');

CREATE INDEX runs_ready ON runs (queue, workflow_id, priority DESC, created_at, run_id)
WHERE worker_id IS NULL AND line <> 1 AND due_at IS NULL AND status IN ('pending', 'running');

CREATE INDEX runs_asleep ON runs (queue, workflow_id, due_at, priority, created_at, run_id)
WHERE
    worker_id IS NULL AND line <> 1 AND due_at IS NOT NULL AND status IN ('pending', 'running', 'suspended');

CREATE INDEX runs_mailed ON runs (queue, workflow_id, priority DESC, created_at, run_id)
WHERE worker_id IS NULL AND line <> 1 AND mailed > seen AND status IN ('pending', 'running', 'suspended');

CREATE INDEX runs_in_line ON runs (resource_id, created_at, run_id)
WHERE line = 1 AND status IN ('pending', 'running', 'suspended');

CREATE INDEX runs_occupying ON runs (resource_id, line, exclusive)
WHERE resource_id IS NOT NULL AND status IN ('pending', 'running', 'suspended');

-- The age is repeated here so that a page of tagged runs is read in order from the key alone.
CREATE TABLE run_tags (
    name       TEXT NOT NULL,
    value      TEXT NOT NULL,
    created_at REAL NOT NULL,
    run_id     TEXT NOT NULL,
    run        INTEGER NOT NULL,
    PRIMARY KEY (name, value, created_at, run_id)
) STRICT, WITHOUT ROWID;

-- The signals that live runs wait for now, in the same way.
CREATE TABLE run_waits (
    signal     TEXT NOT NULL,
    created_at REAL NOT NULL,
    run_id     TEXT NOT NULL,
    run        INTEGER NOT NULL,
    PRIMARY KEY (signal, created_at, run_id)
) STRICT, WITHOUT ROWID;

-- Append-only. Writers take turns, so the id rises in the order of the commits. The row with the
-- highest id is never deleted, so that no id is given twice, which a reader's cursor would miss: a
-- deletion leaves it to run 0, which does not exist.
CREATE TABLE events (
    id      INTEGER PRIMARY KEY,
    run     INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    path    TEXT NOT NULL,
    at      REAL NOT NULL,
    body    TEXT NOT NULL,
    payload BLOB,
    UNIQUE (run, seq)
) STRICT;

-- The summaries as they are read, with the `seq` of the latest event. It is less than that of the
-- summary only where events were lost.
CREATE VIEW summaries AS
SELECT
    runs.key, runs.run_id, runs.workflow_id, runs.workflow_version, runs.fingerprint, runs.status,
    runs.reason, runs.resource_id, runs.tags, runs.created_at, runs.started_at, runs.finished_at,
    runs.due_at,
    MAX(runs.seq, COALESCE((SELECT MAX(events.seq) FROM events WHERE events.run = runs.key), 0))
        AS seq,
    runs.worker_id, runs.token, runs.priority, runs.exclusive, runs.seen, runs.orphaned,
    runs.trace, runs.waits_for, runs.hooks, runs.queue, runs.line
FROM runs;

CREATE TABLE inbox (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    run     INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    body    TEXT NOT NULL,
    at      REAL NOT NULL,
    payload BLOB
) STRICT;

CREATE INDEX inbox_by_run ON inbox (run);

-- The latest progress report of each path whose attempt runs.
CREATE TABLE reports (
    run     INTEGER NOT NULL,
    path    TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    done    REAL NOT NULL,
    total   REAL,
    message TEXT NOT NULL,
    at      REAL NOT NULL,
    PRIMARY KEY (run, path)
) STRICT, WITHOUT ROWID;

-- The logs of steps. Writers take turns, so the id rises in the order of the commits.
CREATE TABLE log_lines (
    id      INTEGER PRIMARY KEY,
    run     INTEGER NOT NULL,
    path    TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    number  INTEGER NOT NULL,
    at      REAL NOT NULL,
    level   INTEGER NOT NULL,
    text    TEXT NOT NULL
) STRICT;

CREATE INDEX log_lines_by_run ON log_lines (run);

CREATE UNIQUE INDEX log_lines_by_attempt ON log_lines (run, path, attempt, number);

-- Calls of hooks that have not returned, of runs that have ended. A row is written only on top of
-- the revision before it. `due_at` keeps other workers away from a call that is being made.
CREATE TABLE hook_calls (
    run         INTEGER NOT NULL,
    hook        INTEGER NOT NULL,
    workflow_id TEXT NOT NULL,
    ended_at    REAL NOT NULL,
    due_at      REAL NOT NULL,
    tries       INTEGER NOT NULL DEFAULT 0,
    error       TEXT NOT NULL DEFAULT '',
    revision    INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (run, hook)
) STRICT, WITHOUT ROWID;

CREATE INDEX hook_calls_by_due ON hook_calls (hook, workflow_id, due_at);

-- `queues`: their names, as JSON. `machine` says where the worker's lock file tells the truth about
-- its death.
CREATE TABLE workers (
    worker_id   TEXT NOT NULL PRIMARY KEY,
    started_at  REAL NOT NULL,
    seen_at     REAL NOT NULL,
    lease       REAL NOT NULL,
    host        TEXT NOT NULL,
    pid         INTEGER NOT NULL,
    concurrency INTEGER,
    queues      TEXT NOT NULL,
    machine     TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- A lease at a limit is of a worker, not of a step: it costs the same for thousands, and what the
-- dead held is gone with them.
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

-- Rules by which runs are started; exactly one of cron and every is set. The input is what each run
-- gets, byte for byte. A row is written only on top of the revision before it.
CREATE TABLE schedules (
    schedule_id TEXT NOT NULL PRIMARY KEY,
    workflow_id TEXT NOT NULL,
    cron        TEXT,
    every       INTEGER,
    timezone    TEXT NOT NULL,
    input       BLOB,
    catch_up    TEXT NOT NULL,
    overlap     TEXT NOT NULL,
    tags        TEXT NOT NULL,
    priority    INTEGER NOT NULL,
    queue       TEXT NOT NULL,
    created_at  REAL NOT NULL,
    paused      INTEGER NOT NULL,
    next_due    REAL NOT NULL,
    revision    INTEGER NOT NULL
) STRICT;

-- Every worker looks each second for what is due.
CREATE INDEX schedules_by_due ON schedules (next_due) WHERE paused = 0;
