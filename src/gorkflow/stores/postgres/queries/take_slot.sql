-- A number that no other session has ever locked, as far as anybody remembers.
SELECT
    slot, pg_advisory_lock(:lock::integer, slot)::text, pg_postmaster_start_time()::text
FROM (SELECT nextval('worker_slots')::integer AS slot) AS next
