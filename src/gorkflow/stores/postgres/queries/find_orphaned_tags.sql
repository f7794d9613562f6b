SELECT run_tags.run_id || ' ' || run_tags.name || '=' || run_tags.value
FROM run_tags LEFT JOIN runs ON runs.key = run_tags.run
WHERE
    runs.key IS NULL
    OR runs.run_id <> run_tags.run_id
    OR runs.created_at <> run_tags.created_at
    OR NOT EXISTS (
        SELECT 1
        FROM json_array_elements(runs.tags::json) AS tag (item)
        WHERE tag.item ->> 0 = run_tags.name AND tag.item ->> 1 = run_tags.value
    )
