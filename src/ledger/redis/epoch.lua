#!lua
-- Begins a new epoch where the ledger may have forgotten: no epoch, another server or history, or
-- an epoch that would have been renewed long ago, or not yet, if the server's clock had not jumped.
-- KEYS: epoch   ARGV: mark of the server, now, id, healthy, retention, largest difference of clocks
local begun = redis.call('GET', KEYS[1])
local cause, left = '', redis.call('PTTL', KEYS[1])
if not begun then
  cause = 'missing'
elseif not string.find(begun, ARGV[1], 1, true) then
  cause = 'server'
elseif left < tonumber(ARGV[4]) or left > tonumber(ARGV[5]) then
  cause = 'lapsed'
end
if cause == '' then
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
  return { begun, cause }
end
local time = redis.call('TIME')
local theirs = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
-- One of the clocks is wrong: an epoch from the future would refuse everything until then.
if math.abs(theirs - tonumber(ARGV[2])) > tonumber(ARGV[6]) then
  return { '', 'clock' }
end
-- The later of two clocks: nothing that was issued before may pass.
local started = math.max(theirs, tonumber(ARGV[2]))
begun = '1|' .. string.format('%.0f', started) .. '|' .. ARGV[1] .. '|' .. ARGV[3]
redis.call('SET', KEYS[1], begun, 'PX', ARGV[5])
return { begun, cause }
