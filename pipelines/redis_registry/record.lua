-- ARGV: slot, version, parent or '', location, manifest
local slot, version, parent, location, manifest = unpack(ARGV)
touch(slot)
record(version, parent, location, manifest)
return {'recorded'}
