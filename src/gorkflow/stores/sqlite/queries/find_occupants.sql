-- The resource, if live runs have it, and whether one of these is exclusive.
SELECT resource_id, MAX(exclusive)
FROM runs INDEXED BY runs_occupying
WHERE resource_id = :resource_id AND status IN ('pending', 'running', 'suspended')
GROUP BY resource_id
