UPDATE runs INDEXED BY runs_owned
SET worker_id = NULL, orphaned = MAX(orphaned, :died)
WHERE worker_id = :worker_id AND status IN ('pending', 'running', 'suspended')
