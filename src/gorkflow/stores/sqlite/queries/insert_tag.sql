INSERT INTO run_tags (name, value, created_at, run_id, run)
VALUES (?, ?, ?, ?, ?)
