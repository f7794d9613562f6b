SELECT runs.run_id || ' ' || coalesce(tag.item ->> 0, '?')
FROM runs JOIN LATERAL json_array_elements(runs.tags::json) AS tag (item) ON TRUE
WHERE
    NOT EXISTS (
        SELECT 1
        FROM run_tags
        WHERE
            run_tags.name = tag.item ->> 0 AND run_tags.value = tag.item ->> 1
            AND run_tags.created_at = runs.created_at AND run_tags.run_id = runs.run_id
    )
