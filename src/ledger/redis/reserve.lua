#!lua
-- Takes a token in one step. Everything that could refuse it is looked at before anything is
-- written, and a second attempt of the same call finds its own reservation.
-- KEYS: token, epoch, reservations, purpose, orders of the hour, their sum, of the day, their sum
local token, epoch, reservations, purpose = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local trace, entry, member, mark = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local issued_s, skew_s, now = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local retention, healthy, lease = ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[10])
local with_purpose, confirmed, purpose_kept = ARGV[11] == '1', ARGV[12], ARGV[13]
local orders_limit, hour_limit, day_limit, amount = ARGV[14], ARGV[15], ARGV[16], ARGV[17]

local begun = redis.call('GET', epoch)
local left = redis.call('PTTL', epoch)
-- More time left than it was ever given: the server's clock stepped back, and what is written now
-- would be forgotten when it is set right.
if not begun or not string.find(begun, mark, 1, true) or left < healthy or left > tonumber(retention) then
  return { 'epoch' }
end
local started = tonumber(string.match(begun, '^1|(%d+)|'))
if issued_s <= math.floor(started / 1000) + skew_s then
  return { 'quarantine', string.format('%.0f', started) }
end

local held = redis.call('GET', token)
if held then
  if string.sub(held, 5, 36) == trace and string.sub(held, 3, 3) == 'R' then
    return { 'first' }
  end
  return { 'known', held }
end

if with_purpose then
  local other = redis.call('GET', purpose)
  if other then
    local state, first, at = string.match(other, '^(%u)|(%x+)|(%d+)$')
    local unknown = state == 'I' or now - tonumber(at) > lease
    if first ~= trace and not (unknown and first == confirmed) then
      return { 'busy', first, unknown and '1' or '0' }
    end
  end
end

-- What is counted within a span of time, after what left it was taken out.
local function counted(orders, sum, span)
  while true do
    local old = redis.call('ZRANGEBYSCORE', orders, '-inf', now - span, 'LIMIT', 0, 100)
    if #old == 0 then break end
    local gone = 0
    for _, order in ipairs(old) do gone = gone + tonumber(string.match(order, '|(%d+)$')) end
    redis.call('ZREM', orders, unpack(old))
    redis.call('DECRBY', sum, string.format('%.0f', gone))
  end
  local count = redis.call('ZCARD', orders)
  -- Two keys may expire a moment apart: without orders there is no sum.
  if count == 0 then redis.call('DEL', sum) end
  return count, tonumber(redis.call('GET', sum) or '0')
end

local function count(orders, sum, span)
  redis.call('ZADD', orders, now, trace .. '|' .. amount)
  redis.call('INCRBY', sum, amount)
  redis.call('PEXPIRE', orders, span)
  redis.call('PEXPIRE', sum, span)
end

local hour, day = 3600000, 86400000
if orders_limit ~= '' or hour_limit ~= '' then
  local orders, spent = counted(KEYS[5], KEYS[6], hour)
  if orders_limit ~= '' and orders + 1 > tonumber(orders_limit) then
    return { 'exceeded', 'orders_hour', string.format('%.0f', orders) }
  end
  if hour_limit ~= '' and spent + tonumber(amount) > tonumber(hour_limit) then
    return { 'exceeded', 'spend_hour', string.format('%.0f', spent) }
  end
end
if day_limit ~= '' then
  local _, spent = counted(KEYS[7], KEYS[8], day)
  if spent + tonumber(amount) > tonumber(day_limit) then
    return { 'exceeded', 'spend_day', string.format('%.0f', spent) }
  end
  count(KEYS[7], KEYS[8], day)
end
if orders_limit ~= '' or hour_limit ~= '' then
  count(KEYS[5], KEYS[6], hour)
end
if with_purpose then
  redis.call('SET', purpose, 'R|' .. trace .. '|' .. ARGV[7], 'PX', purpose_kept)
end
redis.call('ZADD', reservations, now, member)
redis.call('SET', token, entry, 'PX', retention)
return { 'first' }
