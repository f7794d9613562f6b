-- The bytes of all tables with their indexes, and those that rows which are gone leave to new ones.
SELECT
    coalesce(sum(size), 0)::bigint,
    coalesce(sum(size * dead / greatest(dead + live, 1)), 0)::bigint
FROM (
    SELECT
        pg_total_relation_size(relid) AS size, n_dead_tup::float8 AS dead, n_live_tup::float8 AS live
    FROM pg_stat_user_tables
    WHERE schemaname = :schema
) AS tables
