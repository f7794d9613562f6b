SELECT runs.run_id || ' ' || COALESCE(json_extract(tag.item, '$[0]'), '?')
FROM runs CROSS JOIN (
    SELECT
        tagged.key,
        CASE each.type WHEN 'array' THEN each.value ELSE '[]' END AS item
    FROM
        runs AS tagged CROSS JOIN
        json_each(CASE WHEN json_valid(tagged.tags) THEN tagged.tags ELSE '[]' END) AS each
    WHERE tagged.tags <> '[]'
) AS tag ON tag.key = runs.key
WHERE
    NOT EXISTS (
        SELECT 1
        FROM run_tags
        WHERE
            run_tags.name = json_extract(tag.item, '$[0]')
            AND run_tags.value = json_extract(tag.item, '$[1]')
            AND run_tags.created_at = runs.created_at AND run_tags.run_id = runs.run_id
    )
