#!lua
-- Settles as indeterminate what its process left behind. By its own process: at once. By another:
-- where its lease has lapsed, and it stays among the reservations with a new time until that one
-- has told of it; if it does not, another will.
-- KEYS: token, reservations, purpose
-- ARGV: trace, member, state (`I` by its own process, `L` by another), whether it has a purpose, now,
--       how long that is kept, until when a reservation has lapsed
local trace, member, state, now = ARGV[1], ARGV[2], ARGV[3], ARGV[5]
local since = redis.call('ZSCORE', KEYS[2], member)
local taken = '0'
if state == 'I' then
  taken = tostring(redis.call('ZREM', KEYS[2], member))
elseif since and tonumber(since) <= tonumber(ARGV[7]) then
  redis.call('ZADD', KEYS[2], now, member)
  taken = '1'
else
  return { '0', '' }
end
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 5, 36) == trace then
  local was = string.sub(held, 3, 3)
  if was == 'R' then
    redis.call('SET', KEYS[1], '1|' .. state .. string.sub(held, 4), 'KEEPTTL')
    if ARGV[4] == '1' then
      redis.call('SET', KEYS[3], 'I|' .. trace .. '|' .. now, 'PX', ARGV[6])
    end
  end
  return { taken, was }
end
return { taken, '' }
