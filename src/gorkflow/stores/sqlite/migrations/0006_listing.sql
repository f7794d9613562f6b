-- A list of one workflow's runs of some statuses reads nothing but them; without a status it merges
-- those of each.
DROP INDEX runs_by_workflow;

CREATE INDEX runs_by_workflow ON runs (workflow_id, status, created_at, run_id);
