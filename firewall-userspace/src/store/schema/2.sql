ALTER TABLE interfaces ADD COLUMN icmp_errors TEXT NOT NULL DEFAULT 'related'
    CHECK (icmp_errors IN ('related', 'rules-only'));
ALTER TABLE interfaces ADD COLUMN tcp_strict INTEGER NOT NULL DEFAULT 0;

-- Those that differ from the defaults.
CREATE TABLE interface_timeouts (
    interface TEXT NOT NULL REFERENCES interfaces (id) ON DELETE CASCADE,
    timeout   TEXT NOT NULL,
    seconds   INTEGER NOT NULL,
    UNIQUE (interface, timeout)
) STRICT;

-- Kinds of traffic that are exempt by default and left to the rules here.
CREATE TABLE interface_not_exempt (
    interface TEXT NOT NULL REFERENCES interfaces (id) ON DELETE CASCADE,
    kind      TEXT NOT NULL,
    UNIQUE (interface, kind)
) STRICT;

CREATE TABLE interface_always_track (
    interface TEXT NOT NULL REFERENCES interfaces (id) ON DELETE CASCADE,
    prefix    TEXT NOT NULL,
    UNIQUE (interface, prefix)
) STRICT;

CREATE TABLE exempt_addresses (
    id          TEXT PRIMARY KEY,
    protocol    TEXT NOT NULL,
    ports       TEXT,
    prefix      TEXT NOT NULL,
    description TEXT
) STRICT;

CREATE UNIQUE INDEX exempt_addresses_by_properties ON exempt_addresses (protocol, COALESCE(ports, ''), prefix);
