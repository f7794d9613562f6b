DELETE FROM events
WHERE run = :key AND seq <= :upto
