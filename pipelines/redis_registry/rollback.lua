-- ARGV: slot, expected generation or '', detail, at
local slot, expected, detail, at = unpack(ARGV)
local generation, champion, previous = state()
if expected ~= '' and tonumber(expected) ~= generation then return {'stale', generation} end
if champion == '' then return {'nothing'} end

-- The champion and its descendants. Parents are recorded before their children or not at all, but that is not relied on.
local order, family, grown = redis.call('ZRANGE', VERSIONS, 0, -1), {[champion] = true}, true
while grown do
    grown = false
    for _, version in ipairs(order) do
        local parent = redis.call('HGET', PARENTS, version)
        if not family[version] and parent and family[parent] then family[version], grown = true, true end
    end
end

local function is_sound(version)
    return redis.call('HEXISTS', MANIFESTS, version) == 1 and not family[version] and not is_quarantined(version)
end

local back_to, seen = previous, {}
if back_to == '' or not is_sound(back_to) then
    back_to = champion
    repeat
        seen[back_to] = true
        back_to = redis.call('HGET', PARENTS, back_to) or ''
    until back_to == '' or seen[back_to] or is_sound(back_to)
    if back_to == '' or seen[back_to] then return {'no ancestor', champion} end
end

for _, version in ipairs(order) do
    if family[version] then
        redis.call('SADD', QUARANTINED, version)
        note(slot, generation + 1, 'quarantined', version, detail, at)
    end
end
note(slot, generation + 1, 'rolled_back', back_to, detail, at)
return move(generation + 1, back_to, '')
