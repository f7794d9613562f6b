DELETE FROM run_tags
WHERE name = :name AND value = :value AND created_at = :created_at AND run_id = :run_id
