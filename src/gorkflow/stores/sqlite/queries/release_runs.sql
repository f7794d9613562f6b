UPDATE runs
SET worker_id = NULL
WHERE worker_id = ? AND status IN ('pending', 'running', 'suspended')
