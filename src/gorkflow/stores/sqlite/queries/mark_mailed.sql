UPDATE runs
SET mailed = :id
WHERE run_id = :run_id
