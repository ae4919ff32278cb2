-- The counters in Redis. One text for each epoch: a server that was restarted, or a replica that took over, has not
-- loaded it (NOSCRIPT), and one that lost what it counted does not hold the epoch's id; neither grants anything.
--
--   KEYS  truth     hash: the epoch, how many leases are open and how many windows there are, every HELD and KEPT amount
--         leases    hash: "owner\nlease" -> what it holds
--         due       sorted set: every sliding counter, by when it may have become empty (microseconds)
--         untils    sorted set: every KEPT counter, by when it may be forgotten (seconds)
--         presented set: the gateways that have told their leases
--
-- A sliding counter is a hash of its own: buckets and their amounts, their sum, the first and the last that count.
-- A key that was evicted alone is noticed, and loses the epoch: leases and windows are counted in truth.
local EPOCH = '@EPOCH@'
local BUCKETS = 600
local GRACE_S = 3600
local WALK = 100
local truth, leases, due, untils, presented = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local prefix = string.sub(truth, 1, -6) .. 'window:'

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

local function text(number)
  return string.format('%.0f', number)
end

local fields = { 'epoch', 'rebuilding', 'open', 'windows' }
if ARGV[1] == 'reserve' then
  for at = 4, #ARGV, 6 do
    fields[#fields + 1] = ARGV[at + 1] .. ARGV[at]
  end
end
local head = redis.call('HMGET', truth, unpack(fields))
local is_open = head[1] == EPOCH
local windows = tonumber(head[4] or 0)
local LOST = {}

local function lose()
  redis.call('HDEL', truth, 'epoch', 'rebuilding')
  error(LOST)
end

-- The window of a sliding counter now, without what has left it. A clock that went back is not followed.
local function window(counter, width)
  local key = prefix .. counter
  local have = redis.call('HMGET', key, 'epoch', 'sum', 'first', 'last')
  local bucket = math.floor(now / width)
  if have[1] ~= EPOCH then
    if redis.call('ZSCORE', due, counter) or redis.call('ZCARD', due) ~= windows then
      lose()
    end
    return { counter = counter, key = key, width = width, sum = 0, first = bucket, last = bucket, bucket = bucket,
             fresh = true }
  end
  local sum, first, last = tonumber(have[2]), tonumber(have[3]), tonumber(have[4])
  bucket = math.max(bucket, last)
  local oldest = bucket - BUCKETS
  if first < oldest then
    local stop = math.min(last, oldest - 1)
    for start = first, stop, WALK do
      local names = {}
      for each = start, math.min(start + WALK - 1, stop) do
        names[#names + 1] = text(each)
      end
      for _, amount in ipairs(redis.call('HMGET', key, unpack(names))) do
        sum = sum - tonumber(amount or 0)
      end
      redis.call('HDEL', key, unpack(names))
    end
    first = oldest
    last = math.max(last, oldest)
    redis.call('HSET', key, 'sum', text(sum), 'first', text(first), 'last', text(last))
  end
  return { counter = counter, key = key, width = width, sum = sum, first = first, last = last, bucket = bucket }
end

-- Counts an amount in a bucket of the window.
local function put(w, bucket, amount)
  if bucket < w.bucket - BUCKETS then
    return
  end
  w.sum = w.sum + amount
  w.first = math.min(w.first, bucket)
  w.last = math.max(w.last, bucket)
  redis.call('HINCRBY', w.key, text(bucket), text(amount))
  if w.fresh then
    w.fresh = false
    windows = windows + 1
    redis.call('HINCRBY', truth, 'windows', 1)
    redis.call('ZADD', due, text((w.last + BUCKETS + 1) * w.width), w.counter)
    redis.call('HSET', w.key, 'epoch', EPOCH, 'width', string.format('%.17g', w.width))
  end
  redis.call('HSET', w.key, 'sum', text(w.sum), 'first', text(w.first), 'last', text(w.last))
end

local function leaves_in(w, bucket)
  return math.max(math.ceil((bucket + BUCKETS + 1) * w.width - now) + 1, 0)
end

-- In how many microseconds nothing of the window counts any more.
local function reset(w)
  if w.sum > 0 then
    for bucket = w.last, w.first, -1 do
      if tonumber(redis.call('HGET', w.key, text(bucket)) or 0) > 0 then
        return leaves_in(w, bucket)
      end
    end
  end
  return 0
end

-- In how many microseconds the window has room for an amount that is at most the limit.
local function room(w, amount, limit)
  local over = w.sum + amount - limit
  for start = w.first, w.last, WALK do
    local names = {}
    for each = start, math.min(start + WALK - 1, w.last) do
      names[#names + 1] = text(each)
    end
    for at, freed in ipairs(redis.call('HMGET', w.key, unpack(names))) do
      over = over - tonumber(freed or 0)
      if over <= 0 then
        return leaves_in(w, start + at - 1)
      end
    end
  end
  return 0
end

local function keep(counter, amount, ends)
  redis.call('HINCRBY', truth, 'k' .. counter, amount)
  redis.call('ZADD', untils, 'NX', ends, counter)
end

local function sweep()
  for _, counter in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', text(now), 'LIMIT', 0, 32)) do
    local have = redis.call('HMGET', prefix .. counter, 'epoch', 'last', 'width')
    if have[1] ~= EPOCH then
      lose()
    end
    local empty = (tonumber(have[2]) + BUCKETS + 1) * tonumber(have[3])
    if empty > now then
      redis.call('ZADD', due, text(empty), counter)
    else
      redis.call('DEL', prefix .. counter)
      redis.call('ZREM', due, counter)
      redis.call('HINCRBY', truth, 'windows', -1)
    end
  end
  local before = text(math.floor(now / 1000000) - GRACE_S)
  for _, counter in ipairs(redis.call('ZRANGEBYSCORE', untils, '-inf', before, 'LIMIT', 0, 32)) do
    redis.call('HDEL', truth, 'k' .. counter)
    redis.call('ZREM', untils, counter)
  end
end

-- A lease's parts: counter, hold, amount, bucket, microseconds, width, until.
local function hold(id, parts)
  local have = redis.call('HGET', leases, id)
  if have then
    local all = cmsgpack.unpack(have)
    for _, part in ipairs(parts) do
      all[#all + 1] = part
    end
    parts = all
  else
    redis.call('HINCRBY', truth, 'open', 1)
  end
  redis.call('HSET', leases, id, cmsgpack.pack(parts))
end

local function refuse(needs, wanted)
  local answer = { 0, 0, -1 }
  local worst, worst_wait = -1, 0
  for index, need in ipairs(needs) do
    local w = need.window
    answer[#answer + 1] = math.max(need.limit - need.used, 0)
    answer[#answer + 1] = w and reset(w) or 0
    local amount = wanted[need.counter]
    if need.amount > 0 and need.used + amount > need.limit then
      local rank, wait = 2, -1
      if amount > need.limit then
        rank, wait = 3, -2
      elseif w then
        rank, wait = 1, room(w, amount, need.limit)
      elseif need.hold == 'h' then
        rank = 0
      end
      if rank > worst or (rank == worst and wait > worst_wait) then
        worst, worst_wait = rank, wait
        answer[2], answer[3] = index - 1, wait
      end
    end
  end
  return answer
end

-- reserve OWNER LEASE (COUNTER HOLD LIMIT AMOUNT WIDTH UNTIL)...
local function reserve()
  local needs, wanted, seen, fits = {}, {}, {}, true
  for at = 4, #ARGV, 6 do
    local need = { counter = ARGV[at], hold = ARGV[at + 1], limit = tonumber(ARGV[at + 2]),
                   amount = tonumber(ARGV[at + 3]), width = tonumber(ARGV[at + 4]), ends = ARGV[at + 5] }
    if need.hold == 's' then
      need.window = seen[need.counter] or window(need.counter, need.width)
      seen[need.counter] = need.window
      need.used = need.window.sum
    else
      need.used = tonumber(head[4 + #needs + 1] or 0)
    end
    wanted[need.counter] = (wanted[need.counter] or 0) + need.amount
    if need.amount > 0 and need.used + wanted[need.counter] > need.limit then
      fits = false
    end
    needs[#needs + 1] = need
  end
  if not fits then
    return refuse(needs, wanted)
  end
  local answer, parts, taken = { 1, now }, {}, {}
  for index, need in ipairs(needs) do
    local w = need.window
    taken[need.counter] = (taken[need.counter] or 0) + need.amount
    local rest = 0
    if w then
      put(w, w.bucket, need.amount)
      rest = need.amount > 0 and leaves_in(w, w.bucket) or reset(w)
    elseif need.hold == 'k' then
      if head[4 + index] then
        redis.call('HINCRBY', truth, 'k' .. need.counter, text(need.amount))
      else
        keep(need.counter, text(need.amount), need.ends)
      end
    elseif need.amount > 0 then
      redis.call('HINCRBY', truth, 'h' .. need.counter, text(need.amount))
    end
    parts[index] = { need.counter, need.hold, need.amount, w and w.bucket or 0, now, need.width, need.ends }
    answer[#answer + 1] = math.max(need.limit - need.used - taken[need.counter], 0)
    answer[#answer + 1] = rest
  end
  hold(ARGV[2] .. '\n' .. ARGV[3], parts)
  return answer
end

local function correct(part, change)
  if part[2] == 'k' then
    redis.call('HINCRBY', truth, 'k' .. part[1], text(change))
  elseif part[2] == 's' then
    local key = prefix .. part[1]
    local have = redis.call('HMGET', key, 'epoch', 'first', 'last')
    if have[1] == EPOCH and part[4] >= tonumber(have[2]) and part[4] <= tonumber(have[3]) then
      redis.call('HINCRBY', key, text(part[4]), text(change))
      redis.call('HINCRBY', key, 'sum', text(change))
    end
  end
end

-- Less than was reserved is taken from what was reserved first, more is added to what was last.
local function close(id, used)
  local have = redis.call('HGET', leases, id)
  if not have then
    return 0
  end
  local parts = cmsgpack.unpack(have)
  local change = {}
  for _, part in ipairs(parts) do
    local said = used[part[1]]
    if said then
      change[part[1]] = (change[part[1]] or said) - part[3]
    end
  end
  for _, part in ipairs(parts) do
    local less = math.max(change[part[1]] or 0, -part[3])
    if less < 0 then
      change[part[1]] = change[part[1]] - less
      correct(part, less)
    end
    if part[2] == 'h' and part[3] > 0 and redis.call('HINCRBY', truth, 'h' .. part[1], text(-part[3])) == 0 then
      redis.call('HDEL', truth, 'h' .. part[1])
    end
  end
  for at = #parts, 1, -1 do
    local more = change[parts[at][1]] or 0
    if more > 0 then
      change[parts[at][1]] = 0
      correct(parts[at], more)
    end
  end
  redis.call('HDEL', leases, id)
  redis.call('HINCRBY', truth, 'open', -1)
  return 1
end

-- Counts what was used or reserved before; the part of the lease that holds it.
local function recall(counter, kind, amount, at, width, ends)
  local bucket = 0
  if kind == 's' then
    local w = window(counter, width)
    bucket = math.min(math.floor(at / width), w.bucket)
    put(w, bucket, amount)
  elseif kind == 'k' then
    keep(counter, text(amount), ends)
  elseif amount > 0 then
    redis.call('HINCRBY', truth, 'h' .. counter, text(amount))
  end
  return { counter, kind, amount, bucket, at, width, ends }
end

local function recalled(at)
  return recall(ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]),
                ARGV[at + 5])
end

local operations = {}

function operations.reserve()
  if not is_open then
    return 'rebuilding'
  end
  local answer = reserve()
  if now % 16 == 0 then
    sweep()
  end
  return answer
end

-- settle OWNER LEASE (COUNTER USED)...
function operations.settle()
  local used = {}
  for at = 4, #ARGV, 2 do
    used[ARGV[at]] = tonumber(ARGV[at + 1])
  end
  return close(ARGV[2] .. '\n' .. ARGV[3], used)
end

-- end OWNER
operations['end'] = function()
  local mine, count = ARGV[2] .. '\n', 0
  for _, id in ipairs(redis.call('HKEYS', leases)) do
    if string.sub(id, 1, #mine) == mine then
      local nothing = {}
      for _, part in ipairs(cmsgpack.unpack(redis.call('HGET', leases, id))) do
        nothing[part[1]] = 0
      end
      count = count + close(id, nothing)
    end
  end
  return count
end

-- count (COUNTER HOLD AMOUNT MICROSECONDS WIDTH UNTIL)...
function operations.count()
  for at = 2, #ARGV, 6 do
    recalled(at)
  end
  return 1
end

-- begin (COUNTER AMOUNT UNTIL)...
function operations.begin()
  for at = 2, #ARGV, 3 do
    if redis.call('HEXISTS', truth, 'k' .. ARGV[at]) == 0 then
      keep(ARGV[at], ARGV[at + 1], ARGV[at + 2])
    end
  end
  return 1
end

-- present (OWNER LEASE PARTS (COUNTER HOLD AMOUNT MICROSECONDS WIDTH UNTIL)...)...
function operations.present()
  local at = 2
  while at < #ARGV do
    local id, parts, after = ARGV[at] .. '\n' .. ARGV[at + 1], {}, at + 3 + 6 * tonumber(ARGV[at + 2])
    if redis.call('HEXISTS', leases, id) == 0 then
      for each = at + 3, after - 1, 6 do
        parts[#parts + 1] = recalled(each)
      end
      hold(id, parts)
    end
    at = after
  end
  return 1
end

-- presented GATEWAY
function operations.presented()
  return redis.call('SADD', presented, ARGV[2])
end

-- open
function operations.open()
  redis.call('HSET', truth, 'epoch', EPOCH)
  redis.call('HDEL', truth, 'rebuilding')
  return 1
end

if not is_open and head[2] ~= EPOCH then
  return 'lost'
end
local good, answer = pcall(function()
  if redis.call('HLEN', leases) ~= tonumber(head[3] or 0) then
    lose()
  end
  return operations[ARGV[1]]()
end)
if good then
  return answer
end
if answer == LOST then
  return 'lost'
end
error(answer)
