-- ARGV: slot, expected generation or '', detail, at
local slot, expected, detail, at = unpack(ARGV)
local as = state()
local refused = refusal(as, expected, '')
if refused then return refused end
local champion = as.champion
if champion == '' then return {'nothing'} end
local order, fallen = family(champion)

local function is_sound(version)
    return redis.call('HEXISTS', MANIFESTS, version) == 1 and not fallen[version] and not is_quarantined(version)
end

local back_to, seen = as.previous, {}
if back_to == '' or not is_sound(back_to) then
    back_to = champion
    repeat
        seen[back_to] = true
        back_to = redis.call('HGET', PARENTS, back_to) or ''
    until back_to == '' or seen[back_to] or is_sound(back_to)
    if back_to == '' or seen[back_to] then return {'no ancestor', champion} end
end

as.generation, as.champion, as.previous = as.generation + 1, back_to, ''
if fallen[as.candidate] or as.candidate == back_to then as.candidate, as.share, as.share_of = '', '0', 'requests' end
quarantine(slot, order, fallen, as.generation, detail, at)
note(slot, as.generation, 'rolled_back', back_to, detail, at)
return move(as)
