ALTER TABLE runs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;

ALTER TABLE runs ADD COLUMN exclusive INTEGER NOT NULL DEFAULT 0;

-- The latest message that the owner knew of when it suspended the run.
ALTER TABLE runs ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;

-- The latest message that was ever posted to it.
ALTER TABLE runs ADD COLUMN mailed INTEGER NOT NULL DEFAULT 0;

ALTER TABLE inbox ADD COLUMN payload BLOB;

UPDATE runs
SET mailed = (SELECT MAX(inbox.id) FROM inbox WHERE inbox.run = runs.key)
WHERE key IN (SELECT run FROM inbox);

-- One index for all of this made a claim pass by every run that slept, or that nobody here knows.
DROP INDEX runs_to_claim;

CREATE INDEX runs_owned ON runs (worker_id)
WHERE worker_id IS NOT NULL AND status IN ('pending', 'running', 'suspended');

CREATE INDEX runs_ready ON runs (workflow_id, priority DESC, created_at, run_id)
WHERE worker_id IS NULL AND due_at IS NULL AND status IN ('pending', 'running');

CREATE INDEX runs_asleep ON runs (workflow_id, due_at, priority, created_at, run_id)
WHERE
    worker_id IS NULL AND due_at IS NOT NULL AND status IN ('pending', 'running', 'suspended');

CREATE INDEX runs_mailed ON runs (workflow_id, priority DESC, created_at, run_id)
WHERE worker_id IS NULL AND mailed > seen AND status IN ('pending', 'running', 'suspended');

CREATE INDEX runs_occupying ON runs (resource_id, exclusive)
WHERE resource_id IS NOT NULL AND status IN ('pending', 'running', 'suspended');
