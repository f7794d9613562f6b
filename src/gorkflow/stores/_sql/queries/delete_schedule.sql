DELETE FROM schedules
WHERE schedule_id = :schedule_id
