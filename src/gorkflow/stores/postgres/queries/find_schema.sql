SELECT
    (SELECT count(*) FROM pg_namespace WHERE nspname = :schema),
    (
        SELECT count(*)
        FROM pg_class JOIN pg_namespace ON pg_namespace.oid = pg_class.relnamespace
        WHERE nspname = :schema AND relname = 'meta'
    ),
    current_user::text
