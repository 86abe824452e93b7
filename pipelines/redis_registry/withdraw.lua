-- ARGV: slot, expected generation or '', detail, at
local slot, expected, detail, at = unpack(ARGV)
local as = state()
local refused = refusal(as, expected, '')
if refused then return refused end
if as.candidate == '' then return {'nothing'} end
local version = as.candidate
as.generation, as.candidate, as.share, as.share_of = as.generation + 1, '', '0', 'requests'
local order, fallen = family(version)
quarantine(slot, order, fallen, as.generation, detail, at)
note(slot, as.generation, 'withdrawn', version, detail, at)
return move(as)
