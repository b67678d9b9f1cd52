CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE groups (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE COLLATE NOCASE,
    description TEXT NOT NULL
) STRICT;

CREATE TABLE prefix_lists (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    family      TEXT NOT NULL CHECK (family IN ('IPv4', 'IPv6')),
    max_entries INTEGER NOT NULL,
    version     INTEGER NOT NULL
) STRICT;

CREATE TABLE prefix_list_entries (
    list   TEXT NOT NULL REFERENCES prefix_lists (id) ON DELETE CASCADE,
    prefix TEXT NOT NULL,
    UNIQUE (list, prefix)
) STRICT;

CREATE TABLE rules (
    id               TEXT PRIMARY KEY,
    group_id         TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    direction        TEXT NOT NULL CHECK (direction IN ('ingress', 'egress')),
    protocol         TEXT NOT NULL,
    ports            TEXT,
    icmp             TEXT,
    peer_cidr        TEXT,
    peer_group       TEXT REFERENCES groups (id),
    peer_prefix_list TEXT REFERENCES prefix_lists (id),
    description      TEXT,
    CHECK ((peer_cidr IS NOT NULL) + (peer_group IS NOT NULL) + (peer_prefix_list IS NOT NULL) = 1)
) STRICT;

-- The identity of a rule within its group: AWS leaves the description out.
CREATE UNIQUE INDEX rules_by_properties ON rules (
    group_id, direction, protocol, COALESCE(ports, ''), COALESCE(icmp, ''),
    COALESCE(peer_cidr, peer_group, peer_prefix_list)
);

CREATE TABLE members (
    group_id TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    prefix   TEXT NOT NULL,
    UNIQUE (group_id, prefix)
) STRICT;

CREATE TABLE interfaces (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    slot         INTEGER NOT NULL UNIQUE,
    zone         INTEGER NOT NULL,
    ingress_hook TEXT NOT NULL CHECK (ingress_hook IN ('auto', 'xdp', 'tc')),
    log_drops    INTEGER NOT NULL
) STRICT;

CREATE TABLE interface_groups (
    interface TEXT NOT NULL REFERENCES interfaces (id) ON DELETE CASCADE,
    group_id  TEXT NOT NULL REFERENCES groups (id),
    UNIQUE (interface, group_id)
) STRICT;

-- Append-only: flows in the kernel refer to the set that admitted them, also after its rules are gone.
CREATE TABLE rule_sets (
    id   INTEGER NOT NULL,
    rule TEXT NOT NULL,
    PRIMARY KEY (id, rule)
) STRICT, WITHOUT ROWID;
