#!lua
-- Ends a reservation: by its trace, once. A second attempt of the same settlement finds it done.
-- KEYS: token, reservations, purpose, answer, orders of the hour, their sum, of the day, their sum
local token, reservations, purpose, answer = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local trace, member, state, now = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local with_purpose, purpose_kept, kept = ARGV[5] == '1', ARGV[6], ARGV[7]
local by_hour, by_day, amount, retention = ARGV[8] == '1', ARGV[9] == '1', ARGV[10], ARGV[11]
-- What is put in the place of a reservation that may still be on its way, so that it finds the token used.
local tomb = ARGV[12]

local function give_back(orders, sum)
  if redis.call('ZREM', orders, trace .. '|' .. amount) == 1 then
    redis.call('DECRBY', sum, amount)
  end
end

redis.call('ZREM', reservations, member)
local held = redis.call('GET', token)
if not held and tomb ~= '' then
  redis.call('SET', token, tomb, 'PX', retention)
  if with_purpose and state == 'I' then
    redis.call('SET', purpose, 'I|' .. trace .. '|' .. now, 'PX', purpose_kept)
  end
  return { 'done' }
end
if not held or string.sub(held, 5, 36) ~= trace then
  return { 'lost' }
end
local was = string.sub(held, 3, 3)
if was == state then
  return { 'done' }
end
-- Whoever has the answer knows more than whoever found the lease lapsed.
if was ~= 'R' and not (was == 'L' and state == 'B') then
  return { 'lost' }
end
if state == '-' then
  redis.call('DEL', token)
else
  redis.call('SET', token, '1|' .. state .. string.sub(held, 4), 'KEEPTTL')
end
if state == '-' or state == 'U' then
  if by_hour then give_back(KEYS[5], KEYS[6]) end
  if by_day then give_back(KEYS[7], KEYS[8]) end
end
if with_purpose then
  local other = redis.call('GET', purpose)
  if other and string.match(other, '^%u|(%x+)|') == trace then
    if state == 'I' then
      redis.call('SET', purpose, 'I|' .. trace .. '|' .. now, 'PX', purpose_kept)
    else
      redis.call('DEL', purpose)
    end
  end
end
-- Nobody can ask for the answer of a call that sent no key: its entry ends in `|-`.
if kept ~= '' and string.sub(held, -2) ~= '|-' then
  redis.call('SET', answer, kept, 'PX', retention)
end
return { 'done' }
