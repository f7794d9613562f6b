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
    created_at  REAL NOT NULL,
    paused      INTEGER NOT NULL,
    next_due    REAL NOT NULL,
    revision    INTEGER NOT NULL
) STRICT;

-- Every worker looks each second for what is due.
CREATE INDEX schedules_by_due ON schedules (next_due) WHERE paused = 0;
