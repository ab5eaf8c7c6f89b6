-- flags: allow-oom
-- push_ticket: put a ticket into a queue of a server that is full, which only tickets can empty.
--
-- KEYS[1]     list of tickets
-- ARGV[1]     the message
-- Returns     how many tickets stand there now
-- Invariant   tickets are as few as what is ready needs, so this takes little of the memory that isn't there
return redis.call('LPUSH', KEYS[1], ARGV[1])
