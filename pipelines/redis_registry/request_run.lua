-- KEYS: run of the slot that is open, runs by idempotency key, runs, the new run, order; ARGV: idempotency key or '', run id, then its
-- fields. Returns the id of the run to show.
local OPEN, BY_KEY, RUNS, RUN, COUNT = unpack(KEYS)
local key, id = ARGV[1], ARGV[2]
local found = key ~= '' and redis.call('HGET', BY_KEY, key) or redis.call('GET', OPEN)
if not found then
    found = id
    redis.call('HSET', RUN, unpack(ARGV, 3))
    redis.call('ZADD', RUNS, redis.call('INCR', COUNT), id)
    redis.call('SET', OPEN, id)
end
if key ~= '' then redis.call('HSETNX', BY_KEY, key, found) end
return found
