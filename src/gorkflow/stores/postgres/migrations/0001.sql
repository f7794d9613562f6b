-- One summary per run: never a payload in here.
CREATE TABLE runs (
    key              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id           text COLLATE "C" NOT NULL,
    workflow_id      text COLLATE "C" NOT NULL,
    workflow_version text NOT NULL,
    fingerprint      text NOT NULL,
    status           text COLLATE "C" NOT NULL,
    reason           text NOT NULL,
    resource_id      text COLLATE "C",
    tags             text NOT NULL,
    created_at       float8 NOT NULL,
    started_at       float8,
    finished_at      float8,
    due_at           float8,
    seq              integer NOT NULL,
    worker_id        text COLLATE "C",
    token            bigint NOT NULL,
    priority         bigint NOT NULL,
    exclusive        boolean NOT NULL,
    -- The latest message that the owner knew of when it suspended the run.
    seen             bigint NOT NULL,
    -- Whether an owner died with the run since the latest append: its step may be what killed it.
    orphaned         boolean NOT NULL,
    -- The trace that the run belongs to, as its observers write it.
    trace            text NOT NULL,
    -- The names of the signals that it waits for now, as JSON.
    waits_for        text NOT NULL,
    -- What is to be called when it has ended, as bits.
    hooks            integer NOT NULL,
    -- Only workers that name it claim the run.
    queue            text COLLATE "C" NOT NULL,
    -- 1: it waits for its resource; 2: it waited, and has it; 0: it never waits.
    line             smallint NOT NULL,
    -- The latest of its messages that nothing made use of yet; 0: there is none.
    mailed           bigint NOT NULL DEFAULT 0,
    -- When a worker may claim it: 0 is now, NULL is never.
    wake_at          float8
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_limit = 2000);

CREATE UNIQUE INDEX runs_by_id ON runs (run_id);

CREATE INDEX runs_by_age ON runs (created_at, run_id);

CREATE INDEX runs_by_status ON runs (status, created_at, run_id);

CREATE INDEX runs_by_workflow ON runs (workflow_id, status, created_at, run_id);

CREATE INDEX runs_by_resource ON runs (resource_id, created_at, run_id)
WHERE resource_id IS NOT NULL;

CREATE INDEX runs_owned ON runs (worker_id, queue)
WHERE worker_id IS NOT NULL AND status IN ('pending', 'running', 'suspended');

CREATE INDEX runs_ready ON runs (queue, workflow_id, priority DESC, created_at, run_id)
WHERE wake_at = 0;

CREATE INDEX runs_asleep ON runs (wake_at)
WHERE wake_at > 0;

CREATE INDEX runs_asleep_by_queue ON runs (queue)
WHERE wake_at > 0;

CREATE INDEX runs_in_line ON runs (resource_id, created_at, run_id)
WHERE line = 1 AND status IN ('pending', 'running', 'suspended');

CREATE INDEX runs_occupying ON runs (resource_id, line, exclusive)
WHERE resource_id IS NOT NULL AND status IN ('pending', 'running', 'suspended');

-- When a worker may claim a run, by what its row says.
CREATE FUNCTION wake_at(
    status text, worker_id text, due_at float8, mailed bigint, seen bigint, line bigint
)
RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN worker_id IS NOT NULL OR status NOT IN ('pending', 'running', 'suspended') THEN NULL
    WHEN line = 1 THEN NULL
    WHEN mailed > seen THEN 0
    WHEN due_at IS NOT NULL THEN greatest(due_at, 0)
    WHEN status = 'suspended' THEN NULL
    ELSE 0
END;

-- The flow trees, once for all the runs of each.
CREATE TABLE definitions (
    fingerprint text COLLATE "C" PRIMARY KEY,
    tree        text NOT NULL
);

-- The age is repeated here so that a page of tagged runs is read in order from the key alone.
CREATE TABLE run_tags (
    name       text COLLATE "C" NOT NULL,
    value      text COLLATE "C" NOT NULL,
    created_at float8 NOT NULL,
    run_id     text COLLATE "C" NOT NULL,
    run        bigint NOT NULL,
    PRIMARY KEY (name, value, created_at, run_id)
);

CREATE INDEX run_tags_by_run ON run_tags (run);

-- The signals that live runs wait for now, in the same way.
CREATE TABLE run_waits (
    signal     text COLLATE "C" NOT NULL,
    created_at float8 NOT NULL,
    run_id     text COLLATE "C" NOT NULL,
    run        bigint NOT NULL,
    PRIMARY KEY (signal, created_at, run_id)
);

CREATE INDEX run_waits_by_run ON run_waits (run);

-- Append-only.
CREATE TABLE events (
    run     bigint NOT NULL,
    seq     integer NOT NULL,
    kind    text NOT NULL,
    path    text COLLATE "C" NOT NULL,
    at      float8 NOT NULL,
    body    text NOT NULL,
    payload bytea,
    PRIMARY KEY (run, seq)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05);

-- Which events each transaction added: the order of the transactions' numbers is that of the feed.
-- Numbers begin anew with the era: after a restore the server may count from further below.
CREATE TABLE feed (
    era    integer NOT NULL,
    tx     xid8 NOT NULL,
    id     bigint GENERATED ALWAYS AS IDENTITY,
    runs   bigint[] NOT NULL,
    firsts integer[] NOT NULL,
    lasts  integer[] NOT NULL,
    PRIMARY KEY (era, tx, id)
);

-- Messages that nothing made use of yet. The id rises within a run: it is given once the run's row
-- is locked. The transaction's number shows what is new to a worker.
CREATE TABLE inbox (
    id      bigint PRIMARY KEY,
    tx      xid8 NOT NULL,
    run     bigint NOT NULL,
    kind    text NOT NULL,
    body    text NOT NULL,
    at      float8 NOT NULL,
    payload bytea
);

CREATE SEQUENCE inbox_ids OWNED BY inbox.id;

CREATE INDEX inbox_by_run ON inbox (run, id);

CREATE INDEX inbox_by_tx ON inbox (tx);

-- The latest progress report of each path whose attempt runs. Texts of steps may hold NUL, which
-- only bytes can.
CREATE TABLE reports (
    run     bigint NOT NULL,
    path    text COLLATE "C" NOT NULL,
    attempt integer NOT NULL,
    done    float8 NOT NULL,
    total   float8,
    message bytea NOT NULL,
    at      float8 NOT NULL,
    PRIMARY KEY (run, path)
) WITH (fillfactor = 70);

-- The logs of steps.
CREATE TABLE log_lines (
    id      bigint GENERATED ALWAYS AS IDENTITY,
    run     bigint NOT NULL,
    path    text COLLATE "C" NOT NULL,
    attempt integer NOT NULL,
    number  integer NOT NULL,
    at      float8 NOT NULL,
    level   integer NOT NULL,
    text    bytea NOT NULL,
    PRIMARY KEY (run, id)
);

CREATE UNIQUE INDEX log_lines_by_attempt ON log_lines (run, path, attempt, number);

-- Calls of hooks that have not returned, of runs that have ended. A row is written only on top of
-- the revision before it. `due_at` keeps other workers away from a call that is being made.
CREATE TABLE hook_calls (
    run         bigint NOT NULL,
    hook        integer NOT NULL,
    workflow_id text COLLATE "C" NOT NULL,
    ended_at    float8 NOT NULL,
    due_at      float8 NOT NULL,
    tries       integer NOT NULL DEFAULT 0,
    error       text NOT NULL DEFAULT '',
    revision    integer NOT NULL DEFAULT 0,
    PRIMARY KEY (run, hook)
);

CREATE INDEX hook_calls_by_due ON hook_calls (hook, workflow_id, due_at);

-- `queues`: their names, as JSON.
-- `slot` is the number of the lock that the worker's session holds; 0: it has none. The session is
-- named by its process and by when the server and it began.
CREATE TABLE workers (
    worker_id   text COLLATE "C" PRIMARY KEY,
    started_at  float8 NOT NULL,
    seen_at     float8 NOT NULL,
    lease       float8 NOT NULL,
    host        text NOT NULL,
    pid         bigint NOT NULL,
    concurrency bigint,
    queues      text NOT NULL,
    slot        integer NOT NULL,
    server      text NOT NULL
) WITH (fillfactor = 50);

CREATE SEQUENCE worker_slots AS integer CYCLE;

-- A lease at a limit is of a worker, not of a step: it costs the same for thousands, and what the
-- dead held is gone with them.
-- `definition`: concurrency, rate and per of the newest run that uses the limit.
-- `starts`: from when, until when, how many; what started within the latest window of time.
CREATE TABLE limits (
    name       text COLLATE "C" PRIMARY KEY,
    definition text NOT NULL,
    defined_at float8 NOT NULL,
    starts     text NOT NULL
) WITH (fillfactor = 50);

-- `since`: since when the worker waits without getting any.
-- `unbegun`: its steps that were let in at a rate, and have not begun yet; `let_in_at`: the latest.
CREATE TABLE limit_leases (
    name      text COLLATE "C" NOT NULL,
    worker_id text COLLATE "C" NOT NULL,
    held      bigint NOT NULL,
    since     float8,
    asked_at  float8 NOT NULL,
    unbegun   bigint NOT NULL,
    let_in_at float8 NOT NULL,
    PRIMARY KEY (name, worker_id)
) WITH (fillfactor = 50);

CREATE INDEX limit_leases_by_worker ON limit_leases (worker_id);

-- Rules by which runs are started; exactly one of cron and every is set. The input is what each run
-- gets, byte for byte. A row is written only on top of the revision before it.
CREATE TABLE schedules (
    schedule_id text COLLATE "C" PRIMARY KEY,
    workflow_id text COLLATE "C" NOT NULL,
    cron        text,
    every       bigint,
    timezone    text NOT NULL,
    input       bytea,
    catch_up    text NOT NULL,
    overlap     text NOT NULL,
    tags        text NOT NULL,
    priority    bigint NOT NULL,
    queue       text NOT NULL,
    created_at  float8 NOT NULL,
    paused      boolean NOT NULL,
    next_due    float8 NOT NULL,
    revision    bigint NOT NULL
);

CREATE INDEX schedules_by_due ON schedules (next_due) WHERE NOT paused;

-- One row. `id` is the first number of all locks of this store.
CREATE TABLE meta (
    version integer NOT NULL,
    era     integer NOT NULL,
    id      integer NOT NULL
);

-- The summaries as they are read.
CREATE VIEW summaries AS
SELECT
    key, run_id, workflow_id, workflow_version, fingerprint, status, reason, resource_id, tags,
    created_at, started_at, finished_at, due_at, seq, worker_id, token, priority, exclusive, seen,
    orphaned, trace, waits_for, hooks, queue, line
FROM runs;
