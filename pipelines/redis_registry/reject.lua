-- ARGV: slot, version, detail, at
local slot, version, detail, at = unpack(ARGV)
local generation = state()
touch(slot)
note(slot, generation, 'rejected', version, detail, at)
return {'rejected'}
