-- Unless a run was made with it since. Each begins with an event, and their ids never come again.
DELETE FROM definitions
WHERE
    fingerprint = :fingerprint
    AND NOT EXISTS (
        SELECT 1
        FROM events CROSS JOIN runs ON runs.key = events.run
        WHERE events.id > :last_event AND runs.fingerprint = :fingerprint
    )
