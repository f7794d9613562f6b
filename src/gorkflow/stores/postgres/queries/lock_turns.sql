-- Whether nobody else gives turns now; then nobody does until the transaction ends.
SELECT pg_try_advisory_xact_lock(:lock::integer, 0)
