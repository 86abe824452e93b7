-- ARGV: slot, version, expected generation or '', fence or '', detail, at
local slot, version, expected, fence, detail, at = unpack(ARGV)
local before = state()
local refused = refusal(before, expected, fence) or unsound(version)
if refused then return refused end
if before.champion == version then return answer(before) end
return crown(slot, before, version, 'promoted', detail, at)
