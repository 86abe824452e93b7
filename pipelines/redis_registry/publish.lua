-- ARGV: slot, version, parent or '', location, manifest, expected generation, fence or '', detail, at
local slot, version, parent, location, manifest, expected, fence, detail, at = unpack(ARGV)
local before = state()
local refused = refusal(before, expected, fence)
if refused then return refused end
if before.champion == version then return answer(before) end
local known = redis.call('HEXISTS', MANIFESTS, version) == 1
if is_quarantined(version) or (not known and parent ~= '' and is_quarantined(parent)) then return {'quarantined'} end
touch(slot)
record(version, parent, location, manifest)
return crown(slot, before, version, 'published', detail, at)
