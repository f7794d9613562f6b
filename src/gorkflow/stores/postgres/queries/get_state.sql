-- And whether the feed is ahead of the server, as after a restore.
SELECT
    meta.version, meta.era, meta.id,
    coalesce(
        (
            SELECT tx
            FROM feed
            WHERE era = meta.era
            ORDER BY era DESC, tx DESC, id DESC
            LIMIT 1
        ) >= pg_snapshot_xmax(pg_current_snapshot()), FALSE
    )
FROM meta
