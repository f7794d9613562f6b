SELECT
    runs.run_id, events.seq, events.kind, events.path, events.at, events.body, events.payload
FROM
    unnest(:runs, :firsts, :lasts) WITH ORDINALITY AS part (run, first, last, ord)
    JOIN runs ON runs.key = part.run
    JOIN events ON events.run = part.run AND events.seq BETWEEN part.first AND part.last
ORDER BY part.ord, events.seq
