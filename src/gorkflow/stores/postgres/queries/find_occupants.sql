-- Whether one of the live runs of each resource is exclusive.
SELECT resource_id, bool_or(exclusive)
FROM runs
WHERE resource_id = ANY(:resource_ids) AND status IN ('pending', 'running', 'suspended')
GROUP BY resource_id
