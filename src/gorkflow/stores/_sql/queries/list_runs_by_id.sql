-- Not in the order of a list: only where an index says that they are few. ``+``: by no other.
SELECT runs.*
FROM summaries AS runs
WHERE
    runs.run_id >= :id_from AND runs.run_id < :id_to
    AND (+runs.created_at, +runs.run_id) < (:before_at, :before_id)
    /* and: the filters */
