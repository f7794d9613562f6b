SELECT runs.*
FROM run_tags CROSS JOIN summaries AS runs ON runs.key = run_tags.run
WHERE
    run_tags.name = :tag_name AND run_tags.value = :tag_value
    AND (run_tags.created_at, run_tags.run_id) < (:before_at, :before_id)
    /* and: the filters */
ORDER BY run_tags.created_at DESC, run_tags.run_id DESC
LIMIT :limit
