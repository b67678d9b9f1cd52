-- What a list has now is found without what its old versions had, of which there may be a thousand.
DROP INDEX prefix_list_entries_by_list;
CREATE INDEX prefix_list_entries_by_end ON prefix_list_entries (list, until);
