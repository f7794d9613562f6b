-- The next rows of the feed, and which of them only tell of runs that are gone.
SELECT
    era, tx::text, id, NOT EXISTS (SELECT 1 FROM runs WHERE runs.key = ANY(part.runs))
FROM (
    SELECT era, tx, id, runs
    FROM feed
    WHERE
        (era, tx, id) > (:era::integer, :tx::xid8, :id)
        AND (era < (SELECT era FROM meta) OR tx < pg_snapshot_xmin(pg_current_snapshot()))
    ORDER BY era, tx, id
    LIMIT :limit
) AS part
ORDER BY part.era, part.tx, part.id
