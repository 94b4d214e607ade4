c2s_require_encryption = false
allow_unencrypted_plain_auth = true      -- the link is loopback; browsers come by HTTPS
limits = { c2s = { rate = "1mb/s" } }    -- Debian's 10kb/s slows large lists and long messages
smacks_max_queue_size = 5000
modules_disabled = { "roster" }          -- the lists are the site's

VirtualHost "example.org"
    authentication = "rostergate"        -- mod_auth_rostergate: no passwords here, the gateway knows who may come
