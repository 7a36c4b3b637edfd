"""Lua scripts: the server runs each as one step, so that a decision and its effect are atomic.

A hash holds the answers for one tag, by repository; the hash of the empty tag holds the listing. A
set beside them names the tags of a namespace. The scripts read one field of an entry: its
``checked_at``, a double that follows the checksum (`quaycache.store.entry`).
"""

from __future__ import annotations

from typing import Final

LOAD: Final = """
-- KEYS: a hash. ARGV: its maximum number of fields, and the maximum sizes of a value and of all.
-- Returns the server's time, and fields and values alternately; none if the hash is too large.
local time = redis.call('TIME')
if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[1]) then return {time, {}} end
local all, size, limit = redis.call('HGETALL', KEYS[1]), 0, tonumber(ARGV[2])
for at = 2, #all, 2 do
    if #all[at] > limit then all[at] = '' end
    size = size + #all[at - 1] + #all[at]
end
if size > tonumber(ARGV[3]) then return {time, {}} end
return {time, all}
"""

LOAD_ONE: Final = """
-- KEYS: a hash. ARGV: a field, and the maximum size of its value.
-- Returns the server's time, the field and its value.
local value = ''
if redis.call('HSTRLEN', KEYS[1], ARGV[1]) <= tonumber(ARGV[2]) then
    value = redis.call('HGET', KEYS[1], ARGV[1]) or ''
end
return {redis.call('TIME'), {ARGV[1], value}}
"""

CLAIM: Final = """
-- KEYS: a hash, and the hash of the claims on its fields. ARGV: the maximum size of a value, the
-- duration of a claim in milliseconds, the claimant ('' to claim nothing), and the fields.
-- Returns the server's time, fields and values alternately, and the fields claimed elsewhere.
local limit, hold, claimant, found = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], {}
local elsewhere = {}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for at = 4, #ARGV do
    local field, value = ARGV[at], ''
    if redis.call('HSTRLEN', KEYS[1], field) <= limit then
        value = redis.call('HGET', KEYS[1], field) or ''
    end
    local ends, holder = string.match(redis.call('HGET', KEYS[2], field) or '', '^(%d+) (%w+)$')
    ends = tonumber(ends or 0)
    if holder and holder ~= claimant and ends > now and ends <= now + 60000 then
        elsewhere[#elsewhere + 1] = field
    elseif claimant ~= '' then
        redis.call('HSET', KEYS[2], field, string.format('%.0f %s', now + hold, claimant))
        redis.call('PEXPIRE', KEYS[2], 60000)
    end
    found[#found + 1], found[#found + 2] = field, value
end
return {time, found, elsewhere}
"""

RELEASE: Final = """
-- KEYS: the hash of the claims. ARGV: the claimant, and the fields.
for at = 2, #ARGV do
    local holder = string.match(redis.call('HGET', KEYS[1], ARGV[at]) or '', '^%d+ (%w+)$')
    if holder == ARGV[1] then redis.call('HDEL', KEYS[1], ARGV[at]) end
end
"""

_CHECKED_AT: Final = """
local function checked_at(value)
    if not value or #value < 12 then return nil end
    return (struct.unpack('>d', value, 5))
end
"""

_EXTEND: Final = """
-- A client with a shorter retention must not shorten what another has set. A new key has no time to
-- live, which PTTL returns as a negative number. (PEXPIRE ... GT needs Redis 7.)
local function extend(key, milliseconds)
    if redis.call('PTTL', key) < tonumber(milliseconds) then
        redis.call('PEXPIRE', key, milliseconds)
    end
end
"""

MERGE: Final = (
    _CHECKED_AT
    + _EXTEND
    + """
-- KEYS: for each tag its hash, the hash of the claims on it, and the set of tags.
-- ARGV: the latest possible time, the retention in milliseconds, and for each hash its tag, the
-- number of fields, and fields, times and values alternately.
local latest, retention, at = tonumber(ARGV[1]), ARGV[2], 3
for key = 1, #KEYS, 3 do
    local tag, count = ARGV[at], tonumber(ARGV[at + 1])
    at = at + 2
    for _ = 1, count do
        local field, time, value = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
        at = at + 3
        local stored = checked_at(redis.call('HGET', KEYS[key], field))
        if not (stored and time < stored and stored <= latest) then
            redis.call('HSET', KEYS[key], field, value)
        end
        redis.call('HDEL', KEYS[key + 1], field)
    end
    extend(KEYS[key], retention)
    redis.call('SADD', KEYS[key + 2], tag)
    extend(KEYS[key + 2], retention)
end
"""
)

REMOVE: Final = (
    _CHECKED_AT
    + """
-- KEYS: for each field its hash, and the hash of the claims on it.
-- ARGV: fields and the latest times to remove, alternately.
for at = 1, #KEYS, 2 do
    local field, latest = ARGV[at], tonumber(ARGV[at + 1])
    local stored = checked_at(redis.call('HGET', KEYS[at], field))
    if not (stored and stored > latest) then redis.call('HDEL', KEYS[at], field) end
    redis.call('HDEL', KEYS[at + 1], field)
end
"""
)

DISCARD_UNLISTED: Final = (
    _CHECKED_AT
    + """
-- KEYS: the set of tags, a set that keeps the listed repositories until the last call, and hashes.
-- ARGV: the latest time to remove, the maximum number of fields of a hash, the number of fields to
-- look at, the number of remaining tags, the tags of the hashes, and, in the first call only, the
-- listed repositories.
-- Returns the number of hashes that are done; 0 if the server has lost the listed repositories.
local latest, max_fields, budget = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local count, done, listed = #KEYS - 2, 0, {}
local first = 5 + count
if #ARGV >= first then
    for at = first, #ARGV do listed[ARGV[at]] = true end
else
    for _, repository in ipairs(redis.call('SMEMBERS', KEYS[2])) do listed[repository] = true end
    if next(listed) == nil then return 0 end
end
while done < count and budget > 0 do
    done = done + 1
    local hash = KEYS[done + 2]
    local fields = redis.call('HLEN', hash)
    budget = budget - 1
    if fields == 0 then
        redis.call('SREM', KEYS[1], ARGV[done + 4])
    elseif fields <= max_fields then
        budget = budget - fields
        for _, field in ipairs(redis.call('HKEYS', hash)) do
            if not listed[field] then
                local stored = checked_at(redis.call('HGET', hash, field))
                if not (stored and stored > latest) then redis.call('HDEL', hash, field) end
            end
        end
    end
end
if done == tonumber(ARGV[4]) then
    redis.call('UNLINK', KEYS[2])
else
    for at = first, #ARGV, 1000 do
        redis.call('SADD', KEYS[2], unpack(ARGV, at, math.min(at + 999, #ARGV)))
    end
    redis.call('PEXPIRE', KEYS[2], 60000)
end
return done
"""
)
