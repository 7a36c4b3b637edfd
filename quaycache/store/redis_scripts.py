"""What runs inside the server, so that nobody comes between a look and what follows from it.

An entry's ``checked_at`` is the double behind its checksum (`quaycache.store.entry`); it is read
there, and nothing else of an entry. A hash holds the answers for one tag, by repository; that of
the empty tag holds the listing. A set beside them names the tags of a namespace.
"""

from __future__ import annotations

from typing import Final

LOAD: Final = """
-- KEYS: a hash. ARGV: how many fields it may have, how long a value may be, and all of it.
-- Fields and values in turn; nothing of a hash that is too large.
if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[1]) then return {} end
local all, found, size = redis.call('HGETALL', KEYS[1]), {}, 0
for at = 1, #all, 2 do
    if #all[at] <= 255 and #all[at + 1] <= tonumber(ARGV[2]) then
        found[#found + 1], found[#found + 2] = all[at], all[at + 1]
        size = size + #all[at] + #all[at + 1]
    end
end
if size > tonumber(ARGV[3]) then return {} end
return found
"""

LOAD_ONE: Final = """
-- KEYS: a hash. ARGV: a field, how long its value may be.
if redis.call('HSTRLEN', KEYS[1], ARGV[1]) > tonumber(ARGV[2]) then return false end
return redis.call('HGET', KEYS[1], ARGV[1])
"""

CLAIM: Final = """
-- KEYS: a hash, and that of the claims on its fields. ARGV: how long a value may be, for how many
-- milliseconds a claim holds, who claims, or '' for nobody, and the fields.
-- For each field its value, and whether somebody else has claimed it.
local limit, hold, who, found = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], {}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for at = 4, #ARGV do
    local field, value = ARGV[at], false
    if redis.call('HSTRLEN', KEYS[1], field) <= limit then
        value = redis.call('HGET', KEYS[1], field)
    end
    local until_, by = string.match(redis.call('HGET', KEYS[2], field) or '', '^(%d+) (%w+)$')
    until_ = tonumber(until_ or 0)
    local taken = by and by ~= who and until_ > now and until_ <= now + hold
    if who ~= '' and not taken then
        redis.call('HSET', KEYS[2], field, string.format('%.0f %s', now + hold, who))
        redis.call('PEXPIRE', KEYS[2], hold)
    end
    found[#found + 1], found[#found + 2] = value, taken and 1 or 0
end
return found
"""

_CHECKED_AT: Final = """
local function checked_at(value)
    if not value or #value < 12 then return nil end
    return (struct.unpack('>d', value, 5))
end
"""

MERGE: Final = (
    _CHECKED_AT
    + """
-- KEYS: hashes, those of the claims on their fields, and the sets that name their tags, in turn.
-- ARGV: latest, retention in milliseconds, then for each hash its tag, how many fields, and fields,
-- times and values in turn.
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
    redis.call('PEXPIRE', KEYS[key], retention)
    redis.call('SADD', KEYS[key + 2], tag)
    redis.call('PEXPIRE', KEYS[key + 2], retention)
end
"""
)

REMOVE: Final = (
    _CHECKED_AT
    + """
-- KEYS: hashes, a field of each. ARGV: fields and times in turn.
for at = 1, #KEYS do
    local field, until_ = ARGV[2 * at - 1], tonumber(ARGV[2 * at])
    local stored = checked_at(redis.call('HGET', KEYS[at], field))
    if not (stored and stored > until_) then redis.call('HDEL', KEYS[at], field) end
end
"""
)

KEEP_LISTED: Final = (
    _CHECKED_AT
    + """
-- KEYS: the set of a namespace's tags. ARGV: what a hash's key begins with, until when, and the
-- repositories that stay.
local until_, listed = tonumber(ARGV[2]), {}
for at = 3, #ARGV do listed[ARGV[at]] = true end
for _, tag in ipairs(redis.call('SMEMBERS', KEYS[1])) do
    if tag ~= '' then
        local key = ARGV[1] .. tag .. '|'
        for _, field in ipairs(redis.call('HKEYS', key)) do
            if not listed[field] then
                local stored = checked_at(redis.call('HGET', key, field))
                if not (stored and stored > until_) then redis.call('HDEL', key, field) end
            end
        end
        if redis.call('EXISTS', key) == 0 then redis.call('SREM', KEYS[1], tag) end
    end
end
"""
)
