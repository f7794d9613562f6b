SELECT
    schedule_id, workflow_id, cron, every, timezone, input, catch_up, overlap, tags, priority, queue,
    created_at, paused, next_due, revision
FROM schedules INDEXED BY schedules_by_due
WHERE paused = 0 AND next_due <= :due_by
ORDER BY schedule_id
