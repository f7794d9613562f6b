-- Once nobody notes anything of it any more: whoever does later does not find it.
WITH gone AS (
    DELETE FROM runs
    WHERE run_id = :run_id AND status NOT IN ('pending', 'running', 'suspended')
    RETURNING key, created_at, tags, waits_for
),
alone AS MATERIALIZED (
    SELECT
        gone.*,
        pg_advisory_xact_lock((SELECT id + 4 FROM meta), (gone.key & 2147483647)::integer)::text AS lock
    FROM gone
)
SELECT key, created_at, tags, waits_for
FROM alone
WHERE lock IS NOT NULL
