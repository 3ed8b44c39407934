-- News of one swarm, written into its sorted set.
--
-- KEYS[1]  the swarm's set. A member is an address (6 or 18 bytes); its score is 32 times the second until which
--          the peer is expected, plus five bits: what it is (2; 3: it has left), not yet counted (4), 8, 16.
--          'd' has minus the number of downloads as its score, 'l' minus the most that was ever left.
-- ARGV[1]  the most members
-- ARGV[2]  for how many seconds a count of downloads is kept
-- ARGV[3]  and so on, three by three: member, bits (64: has just completed; 128: hearsay), seconds or number
local now = tonumber(redis.call('TIME')[1])
local key, most, keep = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])

-- A server that is full refuses what needs memory, but only until a script has written something: so this comes first,
-- and the sweep, which frees memory, is done all the same.
local refused = nil
local function write(...)
    local reply = redis.pcall(...)
    if type(reply) == 'table' and reply.err then
        refused = reply
    end
end

for at = 3, #ARGV, 3 do
    local who, bits, life = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    if #who == 1 then
        write('ZADD', key, 'LT', -life, who)
    else
        local skip = false
        if bits >= 64 then
            local old = tonumber(redis.call('ZSCORE', key, who) or -1)
            if bits >= 128 then
                bits = bits - 128
                -- What is only repeated changes nothing that is known, but for lives that are longer.
                skip = old >= (now + life) * 32 or (old % 4 == 3 and old >= now * 32 + 32)
            end
            if bits >= 64 then
                bits = bits - 64
                if old < 0 or old % 8 >= 4 then
                    write('ZINCRBY', key, -1, 'd')
                end
            end
        end
        if not skip then
            write('ZADD', key, (now + life) * 32 + bits, who)
        end
    end
end
redis.call('ZREMRANGEBYSCORE', key, 0, now * 32 + 31)
local over = redis.call('ZCARD', key) - most
if over > 0 then
    for _, who in ipairs(redis.call('ZRANGEBYSCORE', key, 0, '+inf', 'LIMIT', 0, over)) do
        redis.call('ZREM', key, who)
    end
end
-- The set goes with the last of its peers, or a while after its last download.
local last = tonumber(redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')[2] or -1)
local die = math.floor(last / 32) + 1
if redis.call('ZSCORE', key, 'd') then
    die = math.max(die, now + keep)
end
redis.call('EXPIREAT', key, math.max(die, 0))
return refused
