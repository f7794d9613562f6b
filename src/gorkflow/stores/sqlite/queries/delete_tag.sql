DELETE FROM run_tags
WHERE name = ? AND value = ? AND created_at = ? AND run_id = ?
