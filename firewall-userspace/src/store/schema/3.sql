CREATE TABLE group_tags (
    resource TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    key      TEXT NOT NULL,
    value    TEXT NOT NULL,
    PRIMARY KEY (resource, key)
) STRICT;

CREATE TABLE rule_tags (
    resource TEXT NOT NULL REFERENCES rules (id) ON DELETE CASCADE,
    key      TEXT NOT NULL,
    value    TEXT NOT NULL,
    PRIMARY KEY (resource, key)
) STRICT;

CREATE TABLE prefix_list_tags (
    resource TEXT NOT NULL REFERENCES prefix_lists (id) ON DELETE CASCADE,
    key      TEXT NOT NULL,
    value    TEXT NOT NULL,
    PRIMARY KEY (resource, key)
) STRICT;

-- The first version whose entries are known.
ALTER TABLE prefix_lists ADD COLUMN oldest_version INTEGER NOT NULL DEFAULT 1;
UPDATE prefix_lists SET oldest_version = version;

-- An entry is in the versions from `since` on, up to but without `until`. So a version costs what it changes.
ALTER TABLE prefix_list_entries RENAME TO current_entries;
CREATE TABLE prefix_list_entries (
    list        TEXT NOT NULL REFERENCES prefix_lists (id) ON DELETE CASCADE,
    prefix      TEXT NOT NULL,
    description TEXT,
    since       INTEGER NOT NULL,
    until       INTEGER,
    UNIQUE (list, prefix, since)
) STRICT;
INSERT INTO prefix_list_entries (list, prefix, since)
    SELECT list, prefix, version FROM current_entries JOIN prefix_lists ON prefix_lists.id = list
    ORDER BY current_entries.rowid;
DROP TABLE current_entries;

-- A quota without a row is unlimited.
CREATE TABLE quotas (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;
