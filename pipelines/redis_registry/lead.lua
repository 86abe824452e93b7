-- ARGV: slot, name, seconds; 0 seconds: the lead is given up. Returns the fence; 0: somebody else leads.
-- The server's clock decides, whatever those of the trainers say.
local slot, name, seconds = ARGV[1], ARGV[2], tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local found = redis.call('HMGET', LEAD, 'fence', 'name', 'ends_at')
local fence, leader, ends_at = tonumber(found[1] or '0'), found[2] or '', tonumber(found[3] or '0')
if leader ~= name and (now < ends_at or seconds == 0) then return 0 end
if seconds > 0 then
    touch(slot)
    if leader ~= name or now >= ends_at then fence = fence + 1 end
end
redis.call('HSET', LEAD, 'fence', fence, 'name', name, 'ends_at', string.format('%.6f', seconds > 0 and now + seconds or 0))
return fence
