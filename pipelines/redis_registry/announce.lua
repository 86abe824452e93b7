-- KEYS: presences by name, names by the time they lapse; ARGV: name, time it lapses, body, time before which lapsed ones are forgotten
local BODIES, LAPSES = unpack(KEYS)
local name, lapses_at, body, forgotten = unpack(ARGV)
redis.call('HSET', BODIES, name, body)
redis.call('ZADD', LAPSES, lapses_at, name)
for _, old in ipairs(redis.call('ZRANGEBYSCORE', LAPSES, '-inf', '(' .. forgotten)) do
    redis.call('HDEL', BODIES, old)
    redis.call('ZREM', LAPSES, old)
end
return 1
