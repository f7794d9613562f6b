-- Whether an owner died with the run since the latest append: its step may be what killed it.
ALTER TABLE runs ADD COLUMN orphaned INTEGER NOT NULL DEFAULT 0;
