-- The best that nginx + Lua can do: OpenSSL called directly, key and context made once.
local ffi, cjson, b64 = require 'ffi', require 'cjson.safe', require 'ngx.base64'
ffi.cdef [[
  void *BIO_new_mem_buf(const void *, int);
  void *PEM_read_bio_PUBKEY(void *, void **, void *, void *);
  void *EVP_MD_CTX_new(void);
  int EVP_MD_CTX_reset(void *);
  const void *EVP_sha256(void);
  int EVP_DigestVerifyInit(void *, void **, const void *, void *, void *);
  int EVP_DigestVerify(void *, const char *, size_t, const char *, size_t);
]]

local function refuse(reason)
  local body = '{"allowed":false,"reasonCode":"' .. reason .. '"}'
  ngx.status = 403
  ngx.header.content_type = 'application/json'
  ngx.header.content_length = #body
  ngx.print(body)
  return ngx.exit(403)
end

local function decoded(part)
  return cjson.decode(b64.decode_base64url(part) or '')
end

return function(given)
  local file = assert(io.open(given.pem))
  local pem = file:read('*a')
  file:close()
  local crypto = ffi.C
  local key = crypto.PEM_read_bio_PUBKEY(crypto.BIO_new_mem_buf(pem, #pem), nil, nil, nil)
  local context, sha256 = crypto.EVP_MD_CTX_new(), crypto.EVP_sha256()
  local redis, burned = given.level >= 4 and require 'nginx.redis', ngx.shared.burned

  local function claims(token)
    local first = token:find('.', 1, true)
    local second = first and token:find('.', first + 1, true)
    if not second then return nil end
    local head, signature = decoded(token:sub(1, first - 1)), b64.decode_base64url(token:sub(second + 1))
    if not head or head.alg ~= 'RS256' or not signature then return nil end
    crypto.EVP_MD_CTX_reset(context)
    if crypto.EVP_DigestVerifyInit(context, nil, sha256, nil, key) ~= 1 then return nil end
    if crypto.EVP_DigestVerify(context, signature, #signature, token, second - 1) ~= 1 then return nil end
    return decoded(token:sub(first + 1, second - 1))
  end

  local function burn_in_redis(jti)
    local at = redis:new()
    at:set_timeout(1000)
    if not at:connect('127.0.0.1', given.redis_port) then return false end
    local answer = at:set(jti, '1', 'NX', 'PX', 180000)
    at:set_keepalive(60000, 512)
    return answer == 'OK'
  end

  return function()
    local token = ngx.var.http_permyx_execution_token
    local found = token and claims(token)
    if not found then return refuse('INVALID_SIGNATURE') end
    if found.iss ~= 'permyx' or found.scope ~= 'agent_exec' or not found.exp or found.exp < ngx.time() then
      return refuse('TOKEN_EXPIRED')
    end
    if given.level >= 3 and not burned:add(found.jti, true, 180) then return refuse('REPLAY_DETECTED') end
    if given.level >= 4 and not burn_in_redis(found.jti) then return refuse('REPLAY_DETECTED') end
  end
end
