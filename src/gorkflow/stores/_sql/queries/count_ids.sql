SELECT COUNT(*)
FROM (
    SELECT 1
    FROM runs
    WHERE run_id >= :id_from AND run_id < :id_to
    LIMIT :limit
) AS found
