UPDATE schedules
SET
    workflow_id = :workflow_id, cron = :cron, every = :every, timezone = :timezone, input = :input,
    catch_up = :catch_up, overlap = :overlap, tags = :tags, priority = :priority,
    queue = :queue, created_at = :created_at, paused = :paused, next_due = :next_due, revision = :revision
WHERE schedule_id = :schedule_id AND revision = :revision - 1
