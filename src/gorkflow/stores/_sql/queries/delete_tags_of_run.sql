-- By no index: only for a run whose own list of them can't be read.
DELETE FROM run_tags
WHERE run = :key
