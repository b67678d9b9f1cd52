ALTER TABLE interfaces ADD COLUMN audit INTEGER NOT NULL DEFAULT 0;

-- Modes of the whole instance that are on.
CREATE TABLE modes (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;

-- Interfaces are meant by name: one may be declared before it is attached.
CREATE TABLE management_prefixes (
    rule      TEXT PRIMARY KEY,
    interface TEXT NOT NULL,
    protocol  TEXT NOT NULL CHECK (protocol IN ('tcp', 'udp')),
    ports     TEXT NOT NULL,
    prefix    TEXT NOT NULL,
    UNIQUE (interface, protocol, ports, prefix)
) STRICT;
