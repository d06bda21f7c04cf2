/**
 * What runs inside Redis, one key each, so that each is atomic and works on a Redis cluster too. Times come from the
 * server, so that the clocks of the processes need not agree.
 *
 *     <prefix>f:<hash>   string   failures in a row, gone when none came for a while
 *     <prefix>t:<hash>   string   when the bucket is full again, microseconds since the epoch
 *     <prefix>l:<hash>   zset     lease → when it ends, milliseconds since the epoch
 *     <prefix>n:<hash>   string   a note
 */
export const SCRIPTS = {
  /** KEYS failures; ARGV forgetAfterMs. Returns the count. */
  meridianAddFailure: {
    numberOfKeys: 1,
    lua: `
local count = redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return count`,
  },
  /** KEYS bucket; ARGV microseconds per token, microseconds of a full bucket. Returns 0, or the microseconds to wait. */
  meridianTakeToken: {
    numberOfKeys: 1,
    lua: `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full = math.max(now, tonumber(redis.call('GET', KEYS[1]) or 0)) + tonumber(ARGV[1])
local wait = full - now - tonumber(ARGV[2])
if wait > 1 then return math.ceil(wait) end
redis.call('SET', KEYS[1], string.format('%.3f', full), 'PX', math.ceil((full - now) / 1000) + 1)
return 0`,
  },
  /** KEYS leases; ARGV lease, max, ttlMs. Returns 1 when it is held now. */
  meridianTakeLease: {
    numberOfKeys: 1,
    lua: `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local held = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not held and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1`,
  },
} as const;
