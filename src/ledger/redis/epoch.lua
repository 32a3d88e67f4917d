#!lua
-- Begins a new epoch where the ledger may have forgotten: no epoch, another server or history, or
-- an epoch that would have been renewed long ago if the clock of the server had not jumped.
-- KEYS: epoch   ARGV: mark of the server, now, id, healthy, retention
local begun = redis.call('GET', KEYS[1])
local cause = ''
if not begun then
  cause = 'missing'
elseif not string.find(begun, ARGV[1], 1, true) then
  cause = 'server'
elseif redis.call('PTTL', KEYS[1]) < tonumber(ARGV[4]) then
  cause = 'lapsed'
end
if cause == '' then
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
  return { begun, cause }
end
-- The later of two clocks: nothing that was issued before may pass.
local time = redis.call('TIME')
local theirs = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local started = math.max(theirs, tonumber(ARGV[2]))
begun = '1|' .. string.format('%.0f', started) .. '|' .. ARGV[1] .. '|' .. ARGV[3]
redis.call('SET', KEYS[1], begun, 'PX', ARGV[5])
return { begun, cause }
