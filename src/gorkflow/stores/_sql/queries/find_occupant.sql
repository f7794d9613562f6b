-- An exclusive run (1) is kept out by any live one, another by an exclusive one.
SELECT run_id
FROM runs INDEXED BY runs_occupying
WHERE
    resource_id = :resource_id AND exclusive >= 1 - :exclusive
    AND status IN ('pending', 'running', 'suspended')
LIMIT 1
