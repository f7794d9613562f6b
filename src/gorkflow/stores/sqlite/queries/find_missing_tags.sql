SELECT runs.run_id || ' ' || json_extract(tag.value, '$[0]')
FROM runs CROSS JOIN json_each(CASE WHEN json_valid(runs.tags) THEN runs.tags ELSE '[]' END) AS tag
WHERE
    runs.tags <> '[]'
    AND NOT EXISTS (
        SELECT 1
        FROM run_tags
        WHERE
            run_tags.name = json_extract(tag.value, '$[0]')
            AND run_tags.value = json_extract(tag.value, '$[1]')
            AND run_tags.created_at = runs.created_at AND run_tags.run_id = runs.run_id
    )
