UPDATE runs INDEXED BY runs_owned
SET worker_id = NULL
WHERE worker_id = ? AND status IN ('pending', 'running', 'suspended')
