-- ARGV: slot, version, parent or '', location, manifest, expected generation, fence or '', detail, at
local slot, version, parent, location, manifest, expected, fence, detail, at = unpack(ARGV)
local newest = redis.call('HGET', LEAD, 'fence')
if fence ~= '' and newest and newest ~= fence then return {'superseded', tonumber(newest), redis.call('HGET', LEAD, 'name')} end
local generation, champion, previous = state()
if tonumber(expected) ~= generation then return {'stale', generation} end
if champion == version then return {'moved', generation, champion, previous} end
local known = redis.call('HEXISTS', MANIFESTS, version) == 1
if is_quarantined(version) or (not known and parent ~= '' and is_quarantined(parent)) then return {'quarantined'} end
touch(slot)
record(version, parent, location, manifest)
note(slot, generation + 1, 'published', version, detail, at)
return move(generation + 1, version, champion)
