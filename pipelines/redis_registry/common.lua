-- What all scripts share. Keys of a slot come in this order, behind those that all slots share.
local SLOTS, ORDER, EVENTS, EVENT_ID = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local STATE, VERSIONS, MANIFESTS, LOCATIONS, PARENTS, QUARANTINED = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local LEAD, REACHED = KEYS[11], KEYS[12]
local KEPT_EVENTS = 10000

-- The slot is there, the newest if it was not.
local function touch(slot)
    if not redis.call('ZSCORE', SLOTS, slot) then
        redis.call('ZADD', SLOTS, redis.call('INCR', ORDER), slot)
    end
end

local FIELDS = {'generation', 'champion', 'candidate', 'previous', 'share', 'share_of', 'training', 'speculation'}
local DEFAULTS = {generation = '0', share = '0', share_of = 'requests', training = '1', speculation = '1'}

local function state()
    local found, as = redis.call('HMGET', STATE, unpack(FIELDS)), {}
    for index, name in ipairs(FIELDS) do as[name] = found[index] or DEFAULTS[name] or '' end
    as.generation = tonumber(as.generation)
    return as
end

-- How far a version got that passed the gate.
local function reached(version, stage)
    if version ~= '' then redis.call('HSET', REACHED, version, stage) end
end

-- The slot as the caller sees it.
local function answer(as)
    local values = {'moved'}
    for _, name in ipairs(FIELDS) do values[#values + 1] = tostring(as[name]) end
    return values
end

local function move(as)
    for _, name in ipairs(FIELDS) do redis.call('HSET', STATE, name, as[name]) end
    reached(as.champion, 'champion')
    reached(as.candidate, tonumber(as.share) > 0 and 'canary' or 'candidate')
    return answer(as)
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

-- Why a change is not to be, or nil: the lead was taken anew, or the slot has moved.
local function refusal(before, expected, fence)
    local newest = redis.call('HGET', LEAD, 'fence')
    if fence ~= '' and newest and newest ~= fence then return {'superseded', tonumber(newest), redis.call('HGET', LEAD, 'name')} end
    if expected ~= '' and tonumber(expected) ~= before.generation then return {'stale', before.generation} end
end

local function unsound(version)
    if is_quarantined(version) then return {'quarantined'} end
    if redis.call('HEXISTS', MANIFESTS, version) == 0 then return {'unknown'} end
end

-- A recorded version becomes champion.
local function crown(slot, before, version, action, detail, at)
    reached(before.candidate, 'candidate')
    before.generation, before.previous, before.champion = before.generation + 1, before.champion, version
    before.candidate, before.share, before.share_of = '', '0', 'requests'
    note(slot, before.generation, action, version, detail, at)
    return move(before)
end

-- A version and its descendants. Parents are recorded before their children or not at all, but that is not relied on.
local function family(version)
    local order, found, grown = redis.call('ZRANGE', VERSIONS, 0, -1), {[version] = true}, true
    while grown do
        grown = false
        for _, each in ipairs(order) do
            local parent = redis.call('HGET', PARENTS, each)
            if not found[each] and parent and found[parent] then found[each], grown = true, true end
        end
    end
    return order, found
end

local function quarantine(slot, order, fallen, generation, detail, at)
    for _, version in ipairs(order) do
        if fallen[version] then
            redis.call('SADD', QUARANTINED, version)
            -- what never passed the gate was never in a stage, and is in none now
            if redis.call('HEXISTS', REACHED, version) == 1 then reached(version, 'rolled_back') end
            note(slot, generation, 'quarantined', version, detail, at)
        end
    end
end
