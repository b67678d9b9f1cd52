-- A row is a run of entries of one description that came together. Its rowid is the position of the first one, and the
-- positions after it, as many as the run has entries, belong to no other row. `prefix` holds all prefixes of the run
-- (`store/runs.rs`). That of a run of one may be a text: so wrote versions up to 6, and so write the statements that undo
-- their changes, which are also why the columns keep their names.
ALTER TABLE prefix_list_entries RENAME TO single_entries;
CREATE TABLE prefix_list_entries (
    list        TEXT NOT NULL REFERENCES prefix_lists (id) ON DELETE CASCADE,
    prefix      ANY NOT NULL,
    description TEXT,
    since       INTEGER NOT NULL,
    until       INTEGER
) STRICT;
INSERT INTO prefix_list_entries (rowid, list, prefix, description, since, until)
    SELECT rowid, list, prefix, description, since, until FROM single_entries ORDER BY rowid;
DROP TABLE single_entries;
CREATE INDEX prefix_list_entries_by_list ON prefix_list_entries (list);
