-- What all scripts share. Keys of a slot come in this order, behind those that all slots share.
local SLOTS, ORDER, EVENTS, EVENT_ID = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local STATE, VERSIONS, MANIFESTS, LOCATIONS, PARENTS, QUARANTINED = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local LEAD = KEYS[11]
local KEPT_EVENTS = 10000

-- The slot is there, the newest if it was not.
local function touch(slot)
    if not redis.call('ZSCORE', SLOTS, slot) then
        redis.call('ZADD', SLOTS, redis.call('INCR', ORDER), slot)
    end
end

local function state()
    local found = redis.call('HMGET', STATE, 'generation', 'champion', 'previous')
    return tonumber(found[1] or '0'), found[2] or '', found[3] or ''
end

local function move(generation, champion, previous)
    redis.call('HSET', STATE, 'generation', generation, 'champion', champion, 'previous', previous)
    return {'moved', generation, champion, previous}
end

local function note(slot, generation, action, version, detail, at)
    local id = redis.call('INCR', EVENT_ID)
    redis.call('XADD', EVENTS, 'MAXLEN', '~', KEPT_EVENTS, id .. '-0', 'slot', slot, 'generation', generation,
        'action', action, 'version', version, 'detail', detail, 'at', at)
end

local function is_quarantined(version)
    return redis.call('SISMEMBER', QUARANTINED, version) == 1
end

-- A version never changes: recorded again, it stays as it was. The child of a quarantined version is quarantined.
local function record(version, parent, location, manifest)
    if redis.call('HSETNX', MANIFESTS, version, manifest) == 0 then return end
    redis.call('ZADD', VERSIONS, redis.call('INCR', ORDER), version)
    redis.call('HSET', LOCATIONS, version, location)
    if parent ~= '' then
        redis.call('HSET', PARENTS, version, parent)
        if is_quarantined(parent) then redis.call('SADD', QUARANTINED, version) end
    end
end
