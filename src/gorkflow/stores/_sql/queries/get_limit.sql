SELECT definition, defined_at, starts
FROM limits
WHERE name = :name
