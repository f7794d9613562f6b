SELECT run_tags.run_id || ' ' || run_tags.name || '=' || run_tags.value
FROM run_tags LEFT JOIN runs ON runs.key = run_tags.run
WHERE
    runs.key IS NULL
    OR runs.run_id <> run_tags.run_id
    OR runs.created_at <> run_tags.created_at
    OR (
        json_valid(runs.tags)
        AND NOT EXISTS (
            SELECT 1
            FROM (
                SELECT CASE each.type WHEN 'array' THEN each.value ELSE '[]' END AS item
                FROM json_each(runs.tags) AS each
            ) AS tag
            WHERE
                json_extract(tag.item, '$[0]') = run_tags.name
                AND json_extract(tag.item, '$[1]') = run_tags.value
        )
    )
