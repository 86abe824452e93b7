-- ARGV: slot, version, share, share_of, expected generation or '', fence or '', detail, at
local slot, version, share, share_of, expected, fence, detail, at = unpack(ARGV)
local as = state()
local refused = refusal(as, expected, fence) or unsound(version)
if refused then return refused end
if as.champion == version then return {'champion'} end
reached(as.candidate, 'candidate')
as.generation, as.candidate, as.share, as.share_of = as.generation + 1, version, share, share_of
note(slot, as.generation, tonumber(share) > 0 and 'canary' or 'staged', version, detail, at)
return move(as)
