-- ARGV: slot, version, detail, at
local slot, version, detail, at = unpack(ARGV)
touch(slot)
note(slot, state().generation, 'rejected', version, detail, at)
return {'rejected'}
