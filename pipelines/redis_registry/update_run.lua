-- KEYS: the run, the run of its slot that is open; ARGV: run id, state, detail, version or '', at, then the open states.
-- Returns the state that it was in; '' for an unknown run.
local RUN, OPEN = unpack(KEYS)
local id, state, detail, version, at = unpack(ARGV, 1, 5)
local open = {}
for index = 6, #ARGV do open[ARGV[index]] = true end
local before = redis.call('HGET', RUN, 'state')
if not before then return '' end
if not open[before] and state ~= before then return before end
redis.call('HSET', RUN, 'state', state, 'detail', detail, 'updated_at', at)
if version ~= '' then redis.call('HSET', RUN, 'version', version) end
if not open[state] and redis.call('GET', OPEN) == id then redis.call('DEL', OPEN) end
return before
