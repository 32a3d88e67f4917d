#!lua
-- Settles as indeterminate what its process left behind. Whoever takes it out of the reservations
-- tells of it; nobody else does.
-- KEYS: token, reservations, purpose
-- ARGV: trace, member, state (`I` by its own process, `L` by another), whether it has a purpose, now, how long that is kept
local taken = redis.call('ZREM', KEYS[2], ARGV[2])
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 5, 36) == ARGV[1] then
  local state = string.sub(held, 3, 3)
  if state == 'R' then
    redis.call('SET', KEYS[1], '1|' .. ARGV[3] .. string.sub(held, 4), 'KEEPTTL')
    if ARGV[4] == '1' then
      redis.call('SET', KEYS[3], 'I|' .. ARGV[1] .. '|' .. ARGV[5], 'PX', ARGV[6])
    end
    return { tostring(taken), 'R' }
  end
  return { tostring(taken), state }
end
return { tostring(taken), '' }
