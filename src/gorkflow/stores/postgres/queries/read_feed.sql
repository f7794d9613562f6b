-- No open transaction can come before these rows. By the number, not by its text.
SELECT era, tx::text, id, runs, firsts, lasts
FROM feed
WHERE
    (era, tx, id) >= (:era::integer, :tx::xid8, :id)
    AND (era < :current OR tx < pg_snapshot_xmin(pg_current_snapshot()))
ORDER BY feed.era, feed.tx, feed.id
LIMIT :limit
