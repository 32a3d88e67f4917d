#!lua
-- Settles as indeterminate what its process left behind. Whoever takes it out of the reservations
-- tells of it; nobody else does.
-- KEYS: token, reservations   ARGV: trace, member, state (`I` by its own process, `L` by another)
local taken = redis.call('ZREM', KEYS[2], ARGV[2])
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 5, 36) == ARGV[1] then
  local state = string.sub(held, 3, 3)
  if state == 'R' then
    redis.call('SET', KEYS[1], '1|' .. ARGV[3] .. string.sub(held, 4), 'KEEPTTL')
    return { tostring(taken), 'R' }
  end
  return { tostring(taken), state }
end
return { tostring(taken), '' }
