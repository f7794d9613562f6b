-- For the many appends that change nothing else: SQLite rewrites the entries of an index whose column
-- is set, even to the same value, and that was most of an append's cost.
UPDATE runs
SET seq = ?
WHERE
    key = ? AND run_id = ? AND seq = ? AND token = ?
    AND status IN ('pending', 'running', 'suspended')
