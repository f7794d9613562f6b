SELECT pg_advisory_xact_lock(:lock::integer, number::integer)::text
FROM (SELECT number FROM unnest(:numbers) AS wanted (number) ORDER BY number) AS sorted
