-- KEYS: run of the slot that is open, runs by idempotency key, runs, the new run, order; ARGV: idempotency key or '', run id, then its
-- fields. Returns the id of the run to show, behind 'open' if that is another one that nobody may join.
local OPEN, BY_KEY, RUNS, RUN, COUNT = unpack(KEYS)
local key, id = ARGV[1], ARGV[2]
local found = key ~= '' and redis.call('HGET', BY_KEY, key)
if found then return {'asked', found} end
found = redis.call('GET', OPEN)
if found then return {'open', found} end
redis.call('HSET', RUN, unpack(ARGV, 3))
redis.call('ZADD', RUNS, redis.call('INCR', COUNT), id)
redis.call('SET', OPEN, id)
if key ~= '' then redis.call('HSET', BY_KEY, key, id) end
return {'asked', id}
