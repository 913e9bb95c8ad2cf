-- Sends each of a file's presigned URLs in turn, over and over.
-- wrk ... -s urls.lua URL -- FILE METHOD BYTES
-- FILE holds one path with its query a line; BYTES is the size of a PUT's body.
-- Answers other than 2xx are counted by wrk itself.

local paths, requests = {}, {}
local at, keep = 0, false

-- Requests are formatted once as long as they fit into this much memory.
local keep_max = 64 * 1024 * 1024

function init(args)
  local file, method, size = args[1], args[2], tonumber(args[3])
  for line in io.lines(file) do
    paths[#paths + 1] = line
  end
  wrk.method = method
  if method == "PUT" then
    -- Not compressible, not periodic: a linear congruential generator.
    local block, x = {}, 12345
    for i = 1, 65536 do
      x = (x * 1103515245 + 12345) % 2147483648
      block[i] = string.char(math.floor(x / 65536) % 256)
    end
    wrk.body = string.rep(table.concat(block), math.ceil(size / 65536)):sub(1, size)
    wrk.headers["Content-Length"] = tostring(size)
  else
    size = 0
  end
  keep = size * #paths <= keep_max
  -- Threads begin at different places.
  at = math.floor((os.time() + tonumber(tostring({}):match("0x(%x+)"), 16) / 16) % #paths)
end

function request()
  at = at % #paths + 1
  if not keep then
    return wrk.format(nil, paths[at])
  end
  local r = requests[at]
  if not r then
    r = wrk.format(nil, paths[at])
    requests[at] = r
  end
  return r
end
