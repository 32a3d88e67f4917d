#!lua
-- What was counted for an agent, without changing it, and when the epoch began.
-- KEYS: epoch, orders of the hour, their sum, of the day, their sum
-- ARGV: mark, healthy, now
local begun = redis.call('GET', KEYS[1])
if not begun or not string.find(begun, ARGV[1], 1, true) or redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  return { 'epoch' }
end
local now = tonumber(ARGV[3])
local function counted(orders, sum, span)
  local spent = tonumber(redis.call('GET', sum) or '0')
  local old = redis.call('ZRANGEBYSCORE', orders, '-inf', now - span, 'LIMIT', 0, 1000)
  for _, order in ipairs(old) do spent = spent - tonumber(string.match(order, '|(%d+)$')) end
  return redis.call('ZCOUNT', orders, '(' .. (now - span), '+inf'), spent
end
local orders, hour = counted(KEYS[2], KEYS[3], 3600000)
local _, day = counted(KEYS[4], KEYS[5], 86400000)
return { 'usage', string.match(begun, '^1|(%d+)|'), tostring(orders), string.format('%.0f', hour), string.format('%.0f', day) }
