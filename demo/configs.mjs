// What is configured for the programs of the demo.

export function prosodyConfig({ folder, root, domain, port, gateway }) {
  const lua = JSON.stringify; // paths and numbers: a JSON string is a Lua string
  return `
${process.getuid() === 0 ? 'run_as_root = true' : ''}
data_path = ${lua(`${folder}/data`)}
pidfile = ${lua(`${folder}/prosody.pid`)}
log = { info = "*console" }

-- mod_roster is left out: rostergate answers for the contact lists.
modules_enabled = { "disco"; "offline"; "ping"; "presence"; "saslauth"; "smacks"; "tls" }
modules_disabled = { "roster"; "s2s" }
smacks_max_queue_size = 5000

interfaces = { "127.0.0.1" }
c2s_ports = { ${port} }
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
-- Nobody has a password here: Prosody asks the gateway, which knows the tokens that it has given to the site.
plugin_paths = { ${lua(`${root}/contrib/prosody`)} }
authentication = "rostergate"
rostergate_auth_url = "http://127.0.0.1:${gateway}/xmpp_auth"

VirtualHost "${domain}"
`;
}

/** Of one gateway; with a `name`, it is one of several, which find each other over the NATS at the port `nats`. */
export const gatewayConfig = ({ domain, port, prosody, site, token, name, nats }) => `
[server]
listen = ["127.0.0.1:${port}"]

[[host]]
domain = "${domain}"
upstream = "xmpp://127.0.0.1:${prosody}"
http_roster_url = "http://127.0.0.1:${site}/contacts/%s"
messages_from = "contacts"
login = "http"
events_url = "http://127.0.0.1:${site}/chat-events${name ? `?gateway=${name}` : ''}"
events_token = "${token}"
offline_after = "2s"
${name ? `
[cluster]
nats = ["nats://127.0.0.1:${nats}"]
node = "${name}"
` : ''}`;

/**
 * HAProxy: each request, and each WebSocket, goes to the next gateway, whosever it is. It serves this machine alone, so it
 * passes the admin API on as well; one that the world can reach must not (docs/several-gateways.md).
 */
export const balancerConfig = ({ port, gateways }) => `
global
    maxconn 1000

defaults
    mode http
    timeout connect 2s
    timeout client 2m
    timeout server 2m
    timeout tunnel 1h
    option abortonclose
    option redispatch 1

listen gateways
    bind 127.0.0.1:${port}
    balance roundrobin
    default-server check inter 500ms
${gateways.map((one) => `    server ${one.name} 127.0.0.1:${one.port}\n`).join('')}`;
