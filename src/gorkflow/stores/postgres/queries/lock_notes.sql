-- One program at a time notes something of a run, or deletes it: so the ids of its log rise.
SELECT pg_advisory_xact_lock(:lock::integer, (key & 2147483647)::integer)::text
FROM (SELECT key FROM unnest(:runs) AS runs (key) ORDER BY key & 2147483647) AS sorted
