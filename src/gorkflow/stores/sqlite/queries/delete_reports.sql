DELETE FROM reports
WHERE run = ?
