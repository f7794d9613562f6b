INSERT INTO schedules (
    schedule_id, workflow_id, cron, every, timezone, input, catch_up, overlap, tags, priority, queue,
    created_at, paused, next_due, revision
)
VALUES (
    :schedule_id, :workflow_id, :cron, :every, :timezone, :input, :catch_up, :overlap, :tags, :priority,
    :queue, :created_at, :paused, :next_due, :revision
)
ON CONFLICT DO NOTHING
