-- The short timeouts of TCP are two hours at the most now. There is one more, of a name that an older sgfw does not know.
UPDATE interface_timeouts SET seconds = 7200
WHERE timeout IN ('tcp-syn', 'tcp-fin', 'tcp-closed') AND seconds > 7200;
