-- What gorkflow with schema 1 left, killed while it owned a run. Made with `.dump`.
BEGIN TRANSACTION;
CREATE TABLE definitions (
    fingerprint TEXT NOT NULL PRIMARY KEY,
    tree        TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "definitions" VALUES('f1','{"tree":1}');
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
INSERT INTO "events" VALUES(1,1,1,'run_created','',1700000000.25,1,'{"fingerprint":"f1","timeout":null}',X'7B226964223A377D');
INSERT INTO "events" VALUES(2,2,1,'run_created','',1700000000.25,1,'{"fingerprint":"f1","timeout":null}',X'7B226964223A377D');
INSERT INTO "events" VALUES(3,3,1,'run_created','',1700000000.25,1,'{"fingerprint":"f1","timeout":null}',X'7B226964223A377D');
INSERT INTO "events" VALUES(4,4,1,'run_created','',1700000000.25,1,'{"fingerprint":"f1","timeout":null}',X'7B226964223A377D');
INSERT INTO "events" VALUES(5,5,1,'run_created','',1700000000.25,1,'{"fingerprint":"f1","timeout":null}',X'7B226964223A377D');
INSERT INTO "events" VALUES(6,5,2,'step_completed','step-2',1700000000.25,1,'{"attempt":1,"began_at":1700000000.25,"ended_at":null}',X'31');
INSERT INTO "events" VALUES(7,5,3,'step_completed','step-3',1700000000.25,1,'{"attempt":1,"began_at":1700000000.25,"ended_at":null}',X'31');
INSERT INTO "events" VALUES(8,1,2,'step_completed','step-2',1700000000.25,1,'{"attempt":1,"began_at":1700000000.25,"ended_at":null}',X'31');
INSERT INTO "events" VALUES(9,1,3,'step_completed','step-3',1700000000.25,1,'{"attempt":1,"began_at":1700000000.25,"ended_at":null}',X'31');
CREATE TABLE inbox (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    run  INTEGER NOT NULL,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    at   REAL NOT NULL
) STRICT;
INSERT INTO "inbox" VALUES(1,2,'cancel','first',1700000000.25);
INSERT INTO "inbox" VALUES(2,2,'cancel','second',1700000000.25);
CREATE TABLE limit_leases (
    name      TEXT NOT NULL,
    run       INTEGER NOT NULL,
    path      TEXT NOT NULL,
    attempt   INTEGER NOT NULL,
    worker_id TEXT NOT NULL,
    taken_at  REAL NOT NULL,
    PRIMARY KEY (name, run, path)
) STRICT, WITHOUT ROWID;
CREATE TABLE limits (
    name        TEXT NOT NULL PRIMARY KEY,
    tokens      REAL NOT NULL,
    refilled_at REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE run_tags (
    name       TEXT NOT NULL,
    value      TEXT NOT NULL,
    created_at REAL NOT NULL,
    run_id     TEXT NOT NULL,
    run        INTEGER NOT NULL,
    PRIMARY KEY (name, value, created_at, run_id)
) STRICT, WITHOUT ROWID;
INSERT INTO "run_tags" VALUES('env','prod',1700000000.25,'ready',1);
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
INSERT INTO "runs" VALUES(1,'ready','shop','1','f1','pending','','cart','[["env", "prod"]]',1700000000.25,NULL,NULL,NULL,3,NULL,0);
INSERT INTO "runs" VALUES(2,'mailed','shop','1','f1','suspended','',NULL,'[]',1700000000.25,NULL,NULL,1700000500.25,1,NULL,0);
INSERT INTO "runs" VALUES(3,'asleep','shop','1','f1','suspended','',NULL,'[]',1700000000.25,NULL,NULL,1700000100.25,1,NULL,0);
INSERT INTO "runs" VALUES(4,'owned','shop','1','f1','pending','',NULL,'[]',1700000000.25,NULL,NULL,NULL,1,'gone',1);
INSERT INTO "runs" VALUES(5,'done','shop','1','f1','completed','',NULL,'[]',1700000000.25,NULL,1700000005.25,NULL,3,NULL,0);
CREATE TABLE workers (
    worker_id  TEXT NOT NULL PRIMARY KEY,
    started_at REAL NOT NULL,
    seen_at    REAL NOT NULL,
    lease      REAL NOT NULL,
    host       TEXT NOT NULL,
    pid        INTEGER NOT NULL,
    machine    TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "workers" VALUES('gone',1700000000.25,1700000000.25,1.0,'',0,'a machine');
CREATE INDEX runs_by_age ON runs (created_at, run_id);
CREATE INDEX runs_by_status ON runs (status, created_at, run_id);
CREATE INDEX runs_by_workflow ON runs (workflow_id, created_at, run_id);
CREATE INDEX runs_by_resource ON runs (resource_id, created_at, run_id)
WHERE resource_id IS NOT NULL;
CREATE INDEX runs_to_claim ON runs (worker_id, due_at, created_at, run_id, workflow_id)
WHERE status IN ('pending', 'running', 'suspended');
CREATE INDEX inbox_by_run ON inbox (run);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('events',9);
INSERT INTO "sqlite_sequence" VALUES('inbox',2);
COMMIT;
PRAGMA application_id = 1735357035;
PRAGMA user_version = 1;
