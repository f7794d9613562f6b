-- The same, of the runs with a tag.
SELECT run_tags.created_at, run_tags.run_id
FROM run_tags
WHERE
    run_tags.name = :tag_name AND run_tags.value = :tag_value
    AND (run_tags.created_at, run_tags.run_id) < (:before_at, :before_id)
    /* and: the filters */
ORDER BY run_tags.created_at DESC, run_tags.run_id DESC
LIMIT 1 OFFSET :skip
