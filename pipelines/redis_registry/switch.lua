-- ARGV: slot, switch, '1' or '0', detail, at
local slot, switch, on, detail, at = unpack(ARGV)
local as = state()
if as[switch] == on then return answer(as) end
touch(slot)
as[switch] = on
note(slot, as.generation, switch .. (on == '1' and '_on' or '_off'), '', detail, at)
return move(as)
