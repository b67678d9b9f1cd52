-- Who made which generation, when and by what.
CREATE TABLE generations (
    generation INTEGER PRIMARY KEY,
    -- Seconds since 1970.
    at         INTEGER NOT NULL,
    user       TEXT NOT NULL,
    command    TEXT NOT NULL
) STRICT;

-- Statements that undo a generation, the last one first. Those of the change that is being made have none yet.
CREATE TABLE undo (
    step       INTEGER PRIMARY KEY,
    generation INTEGER,
    statement  TEXT NOT NULL
) STRICT;

CREATE INDEX undo_by_generation ON undo (generation);

-- At most one row: the generation that waits to be confirmed.
CREATE TABLE unconfirmed (
    generation INTEGER PRIMARY KEY,
    -- The one to go back to.
    previous   INTEGER NOT NULL,
    -- Seconds since 1970, for who looks after a reboot.
    until      INTEGER NOT NULL,
    -- Seconds after the confirmation at which flows without a rule are cut; NULL to keep them.
    cut_after  INTEGER
) STRICT;
