DELETE FROM run_waits
WHERE signal = :signal AND created_at = :created_at AND run_id = :run_id
