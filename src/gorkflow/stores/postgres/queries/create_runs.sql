-- The lock keeps those out who drop definitions that no run has.
WITH item AS MATERIALIZED (
    SELECT *
    FROM
        unnest(
            :ord, :run_id, :workflow_id, :workflow_version, :fingerprint, :resource_id, :tags,
            :created_at, :token, :priority, :exclusive, :queue, :line, :after, :status, :reason, :started_at,
            :finished_at, :due_at, :worker_id, :seen, :orphaned, :trace, :waits_for, :hooks
        ) AS item (
            ord, run_id, workflow_id, workflow_version, fingerprint, resource_id, tags, created_at,
            token, priority, exclusive, queue, line, after, status, reason, started_at, finished_at, due_at,
            worker_id, seen, orphaned, trace, waits_for, hooks
        )
),
defined AS (
    INSERT INTO definitions (fingerprint, tree)
    SELECT tree.fingerprint, tree.tree
    FROM
        pg_advisory_xact_lock_shared(:lock::integer, 1),
        unnest(:d_fingerprint, :d_tree) AS tree (fingerprint, tree)
    ORDER BY tree.fingerprint
    ON CONFLICT DO NOTHING
),
inserted AS (
    INSERT INTO runs (
        run_id, workflow_id, workflow_version, fingerprint, resource_id, tags, created_at, token,
        priority, exclusive, queue, line, seq, status, reason, started_at, finished_at, due_at, worker_id, seen,
        orphaned, trace, waits_for, hooks, wake_at
    )
    SELECT
        run_id, workflow_id, workflow_version, fingerprint, resource_id, tags, created_at, token,
        priority, exclusive, queue, line, after, status, reason, started_at, finished_at, due_at, worker_id, seen,
        orphaned, trace, waits_for, hooks, wake_at(status, worker_id, due_at, 0, seen, line)
    FROM item
    ORDER BY run_id
    ON CONFLICT (run_id) DO NOTHING
    RETURNING key, run_id
),
accepted AS MATERIALIZED (
    SELECT
        (inserted.keys ->> item.run_id)::bigint AS key, item.ord, item.run_id, item.created_at,
        0 AS before, item.after
    FROM
        (SELECT jsonb_object_agg(run_id, key) AS keys FROM inserted) AS inserted
        JOIN item ON inserted.keys ? item.run_id
),
tagged AS (
    INSERT INTO run_tags (name, value, created_at, run_id, run)
    SELECT tag.name, tag.value, accepted.created_at, accepted.run_id, accepted.key
    FROM
        unnest(:t_ord, :t_name, :t_value) AS tag (ord, name, value)
        JOIN accepted ON accepted.ord = tag.ord
),
waits AS (
    INSERT INTO run_waits (signal, created_at, run_id, run)
    SELECT wait.signal, accepted.created_at, accepted.run_id, accepted.key
    FROM unnest(:w_ord, :w_signal) AS wait (ord, signal) JOIN accepted ON accepted.ord = wait.ord
),
called AS (
    INSERT INTO hook_calls (run, hook, workflow_id, ended_at, due_at)
    SELECT accepted.key, call.hook, call.workflow_id, call.ended_at, call.due_at
    FROM
        unnest(:h_ord, :h_hook, :h_workflow, :h_ended, :h_due)
            AS call (ord, hook, workflow_id, ended_at, due_at)
        JOIN accepted ON accepted.ord = call.ord
),
