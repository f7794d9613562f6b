SELECT pg_advisory_unlock(:lock::integer, :slot::integer)
