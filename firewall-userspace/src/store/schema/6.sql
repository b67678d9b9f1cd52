-- What an interface had when the policy was last published: the addresses by which groups know it while it is gone.
CREATE TABLE interface_addresses (
    interface TEXT NOT NULL REFERENCES interfaces (id) ON DELETE CASCADE,
    prefix    TEXT NOT NULL,
    UNIQUE (interface, prefix)
) STRICT;
