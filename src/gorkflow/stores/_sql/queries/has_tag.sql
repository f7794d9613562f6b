EXISTS (
    SELECT 1
    FROM run_tags AS tag
    WHERE
        tag.name = :name AND tag.value = :value
        AND tag.created_at = runs.created_at AND tag.run_id = runs.run_id
)
