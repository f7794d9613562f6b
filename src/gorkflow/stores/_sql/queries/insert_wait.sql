INSERT INTO run_waits (signal, created_at, run_id, run)
VALUES (:signal, :created_at, :run_id, :key)
