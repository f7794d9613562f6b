-- As update_run, for the many appends that change no indexed column: SQLite rewrites the entries of
-- an index whose column is set, even to the same value, and that was most of an append's cost.
UPDATE runs
SET reason = :reason, started_at = :started_at, finished_at = :finished_at, seq = :seq
WHERE
    run_id = :run_id AND seq = :expected_seq AND token = :token
    AND status IN ('pending', 'running', 'suspended')
    AND status = :status AND due_at IS :due_at AND worker_id IS :worker_id
    AND seen = :seen
RETURNING key
