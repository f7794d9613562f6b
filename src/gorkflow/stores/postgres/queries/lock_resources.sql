SELECT
    CASE
        WHEN exclusive THEN pg_advisory_xact_lock(:lock::integer, number::integer)::text
        ELSE pg_advisory_xact_lock_shared(:lock::integer, number::integer)::text
    END
FROM (
    SELECT number, exclusive
    FROM unnest(:numbers, :exclusive) AS wanted (number, exclusive)
    ORDER BY number
) AS sorted
