// Real servers for the tests of real clients: Prosody or ejabberd, rostergate, and a backend in
// this process.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync }
  from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));
const target = resolve(root, process.env.CARGO_TARGET_DIR ?? 'target');
export const domain = 'example.org';
export const PATIENCE = 30_000; // ms, for anything that a test waits for
const GRACE = 5_000; // ms, for each program to stop when asked

/** Tries `probe` until it gives something; fails, saying `what` it was, when patience ends. */
export async function until(probe, what, patience = PATIENCE) {
  const deadline = Date.now() + patience;
  for (;;) {
    const found = await probe();
    if (found) return found;
    assert.ok(Date.now() < deadline, `waited in vain for ${typeof what === 'string' ? what : what()}`);
    await pause(50);
  }
}

/** A program whose output goes to a log; the kernel ends it should this process be killed. */
export class Program {
  constructor(folder, name, command, args, options = {}) {
    this.name = name;
    this.log = join(folder, `${name}.log`);
    const out = openSync(this.log, 'a');
    const guarded = ['--pdeathsig', 'KILL', '--', command, ...args];
    this.child = spawn('setpriv', guarded, { cwd: folder, stdio: ['pipe', out, out], ...options });
    // A program that has ended hears nothing; `says` and `end` tell of that.
    this.child.stdin?.on('error', () => {});
    this.over = undefined;
    this.ended = new Promise((done) => {
      this.child.on('error', (error) => done(error.message));
      this.child.on('exit', (code, signal) => done(signal ?? code));
    }).then((how) => { this.over = { how }; return how; });
  }

  output() {
    return readFileSync(this.log, 'utf8');
  }

  /** Writes a line to its input. */
  tell(line) {
    this.child.stdin.write(`${line}\n`);
  }

  /** Waits until it has printed `text`. */
  async says(text) {
    await until(() => {
      const output = this.output();
      if (output.includes(text)) return true;
      assert.ok(!this.over, `${this.name} has ended (${this.over?.how}):\n${output}`);
      return false;
    }, () => `${this.name} to say ${text}; it said\n${this.output().slice(-4000)}`);
  }

  /** Waits for its end; gives its exit code, or the signal that ended it. */
  async end() {
    await until(() => this.over, () => `${this.name} to end; it said\n${this.output().slice(-4000)}`);
    return this.over.how;
  }

  async stop() {
    if (this.over) return;
    this.child.kill('SIGTERM');
    const timer = setTimeout(() => this.child.kill('SIGKILL'), GRACE);
    await this.ended;
    clearTimeout(timer);
  }
}

/**
 * A network that can fail: TCP connections are passed on to a port, until they are broken. `records`: what both sides of
 * the last one have sent is in `bytes`.
 */
export class Relay {
  static async start(port, { records = false } = {}) {
    const relay = Object.assign(new Relay(), { pairs: new Set(), down: false, turnedAway: 0, bytes: records && [] });
    relay.server = createServer((near) => {
      if (relay.down) relay.turnAway(near);
      else relay.pass(near, connect(port, '127.0.0.1'));
    });
    await new Promise((done) => { relay.server.listen(0, '127.0.0.1', done); });
    relay.port = relay.server.address().port;
    return relay;
  }

  pass(near, far) {
    const pair = [near, far];
    if (this.bytes) this.bytes = pair.map((socket) => record(socket));
    this.pairs.add(pair);
    const end = () => {
      this.pairs.delete(pair);
      for (const socket of pair) socket.destroy();
    };
    for (const socket of pair) {
      socket.on('error', () => socket.destroy()).on('close', () => { if (socket === far || !this.hides) end(); });
    }
    near.pipe(far).pipe(near);
  }

  turnAway(near) {
    this.turnedAway += 1;
    near.on('error', () => {});
    if (this.answer) near.once('data', () => near.end(this.answer));
    else near.destroy();
  }

  /** Breaks all connections, and each new one until `mend`; that may be given an answer first. */
  break(answer = '') {
    this.down = true;
    this.answer = answer;
    for (const pair of this.pairs) for (const socket of pair) socket.destroy();
  }

  /** Keeps all connections, and passes nothing on any more, so that nobody notices. One that records goes on with that. */
  stall() {
    for (const pair of this.pairs) for (const socket of pair) {
      socket.unpipe();
      if (this.bytes) socket.resume();
      else socket.pause();
    }
  }

  mend() {
    this.down = false;
  }

  /** Lets nobody hear from now on that a client is gone, as some proxies do. */
  hide() {
    this.hides = true;
  }

  stop() {
    this.break();
    this.server.close();
  }
}

/** All that a socket gives, by and by. */
function record(socket) {
  const chunks = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  return chunks;
}

/** Whether nobody listens on a port. */
const isFree = (port) => new Promise((done) => {
  const server = createServer().once('error', () => done(false));
  server.listen(port, '127.0.0.1', () => server.close(() => done(true)));
});

/** The ports that somebody has been given. */
const given = new Set();

/** Free ports, each given once, and below those (32768 and up) that connections take before a server gets them. */
export async function freePorts(count) {
  const ports = [];
  while (ports.length < count) {
    const port = 11_000 + Math.floor(Math.random() * 21_000);
    if (given.has(port)) continue;
    given.add(port);
    if (await isFree(port)) ports.push(port);
  }
  return ports;
}

const TOKEN = 'the-token';

/**
 * The XMPP servers: how many ports each wants (c2s first), how it is started on them, what it says
 * when it listens on one, and when it cannot; lines of the gateway's host for it, and what is done when that runs.
 * `prosody` knows no contacts, `prosodyWithLists` is written the site's, `prosodyAsking` asks the gateway about passwords.
 */
const servers = {
  prosody: {
    ports: 1,
    start: startProsody,
    listens: (port) => `Activated service 'c2s' on [127.0.0.1]:${port}`,
    refused: 'Failed to open server port',
  },
  prosodyWithLists: {
    ports: 2,
    start: startProsody,
    listens: (port) => `[127.0.0.1]:${port}`,
    refused: 'Failed to open server port',
    host: (site, [, http]) => `
rosters = "server"
writer = "prosody"
writer_url = "http://127.0.0.1:${http}/rostergate"
writer_token_file = "${site.file('token', TOKEN)}"
`,
  },
  prosodyAsking: {
    ports: 1,
    start: (site, ports) => startProsody(site, ports, 'questions'),
    listens: (port) => `Activated service 'c2s' on [127.0.0.1]:${port}`,
    refused: 'Failed to open server port',
    host: (site) => `
login = "http"
auth_url = "http://127.0.0.1:${site.backend.address().port}/auth"
`,
    ready: (site) => {
      for (const user of Object.keys(site.users)) {
        site.file(`questions/${user}`, `http://127.0.0.1:${site.port}/xmpp_auth`);
      }
    },
  },
  ejabberd: {
    ports: 2,
    start: startEjabberd,
    listens: (port) => `Start accepting TCP connections at 127.0.0.1:${port} `,
    refused: 'eaddrinuse',
    register: registerAtEjabberd,
  },
};

function startProsody(site, [c2s, http], authentication = 'internal_plain') {
  const accounts = join(site.folder, 'data', domain.replaceAll('.', '%2e'), 'accounts');
  mkdirSync(accounts, { recursive: true });
  for (const user of Object.keys(site.users)) {
    writeFileSync(join(accounts, `${user}.dat`), `return { ["password"] = "secret-${user}" };\n`);
  }
  mkdirSync(join(site.folder, 'questions'), { recursive: true });
  const config = site.file('prosody.cfg.lua', prosodyConfig(site.folder, c2s, http, authentication));
  return site.start('prosody', 'prosody', ['--config', config, '-F']);
}

function startEjabberd(site, [c2s, http]) {
  const path = (name) => join(site.folder, name);
  const env = {
    ...process.env,
    EJABBERD_CONFIG_PATH: site.file('ejabberd.yml', ejabberdConfig(c2s, http)),
    EJABBERD_LOG_PATH: path('ejabberd.own.log'),
    EJABBERD_PID_PATH: path('ejabberd.pid'),
    ERL_CRASH_DUMP: path('erl_crash.dump'),
    ERL_LIBS: '/usr/lib/x86_64-linux-gnu',
  };
  // Without a node name: no epmd, and nobody else's node is in the way.
  const args = ['-noinput', '-mnesia', 'dir', `"${path('spool')}"`, '-s', 'ejabberd'];
  return site.start('ejabberd', 'erl', args, { env });
}

async function registerAtEjabberd(site, [, http]) {
  for (const user of Object.keys(site.users)) {
    const response = await fetch(`http://127.0.0.1:${http}/api/register`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ user, host: domain, password: site.password(user) }),
    });
    assert.equal(response.status, 200, await response.text());
  }
}

function ejabberdConfig(c2s, http) {
  return `
hosts: ["${domain}"]
loglevel: info
auth_method: internal
listen:
  - {port: ${c2s}, ip: 127.0.0.1, module: ejabberd_c2s}
  - {port: ${http}, ip: 127.0.0.1, module: ejabberd_http, request_handlers: {/api: mod_http_api}}
api_permissions:
  tests: {from: [mod_http_api], who: {ip: 127.0.0.0/8}, what: [register]}
modules:
  mod_admin_extra: {}
  mod_disco: {}
  mod_offline: {}
  mod_ping: {}
  mod_roster: {}
  mod_stream_mgmt: {resend_on_timeout: true}
`;
}

/** With a port for HTTP, it has lists of contacts, and they can be written. */
function prosodyConfig(folder, port, http, authentication) {
  const lua = JSON.stringify; // paths: a JSON string is a Lua string
  const [more, less] = http ? ['; "pep"; "roster"; "rostergate"', ''] : ['', '"roster"; '];
  return `
${process.getuid() === 0 ? 'run_as_root = true' : ''}
data_path = ${lua(join(folder, 'data'))}
pidfile = ${lua(join(folder, 'prosody.pid'))}
log = { info = "*console" }
modules_enabled = { "disco"; "offline"; "ping"; "presence"; "saslauth"; "smacks"${more} }
modules_disabled = { ${less}"s2s"; "tls" }
plugin_paths = { ${lua(join(root, 'contrib/prosody'))}; ${lua(join(root, 'tests/support/prosody'))} }
questions_folder = ${lua(join(folder, 'questions'))}
rostergate_token = "${TOKEN}"
http_ports = { ${http ?? ''} }
https_ports = {}
http_default_host = "${domain}"
smacks_max_queue_size = 5000
interfaces = { "127.0.0.1" }
c2s_ports = { ${port} }
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "${authentication}"
VirtualHost "${domain}"
`;
}

/** The URLs of the gateway's fronts at a port. */
export const fronts = (port) => ({
  bosh: `http://127.0.0.1:${port}/http-bind`,
  websocket: `ws://127.0.0.1:${port}/xmpp-websocket`,
});
export const FRONTS = ['bosh', 'websocket'];

/** The site: who has which contacts, and the servers that go with it. */
export class Site {
  binary = join(target, 'debug/rostergate');

  programs = [];

  /**
   * `users`: contacts by user, as the backend gives them. `bosh`, `websocket`, `admin`: lines of these tables.
   * `server`: prosody or ejabberd. `listen`: where the gateway listens. `rosters`: where contact lists come from, if
   * not from here.
   */
  static async start({
    users, bosh = '', websocket = '', admin = '', server = 'prosody', listen = '127.0.0.1:0', rosters,
  }) {
    const site = new Site();
    assert.ok(existsSync(site.binary), 'rostergate is not built: `cargo build`, or `make clients`');
    site.users = users;
    site.folder = mkdtempSync(join(tmpdir(), 'rostergate-clients-'));
    try {
      await site.run({ bosh, websocket, admin, server, listen, rosters });
    } catch (error) {
      await site.stop();
      throw error;
    }
    return site;
  }

  async run({ bosh, websocket, admin, server, listen, rosters }) {
    this.asked = {}; // how often the backend was, by user
    this.down = new Set(); // users for whom it fails
    this.backend = createHttpServer((req, res) => {
      if (req.url.startsWith('/auth/')) {
        res.end(String(this.judges(new URL(req.url, 'http://localhost').searchParams)));
        return;
      }
      const user = decodeURIComponent(req.url.split('/').at(-1));
      this.asked[user] = (this.asked[user] ?? 0) + 1;
      if (this.down.has(user)) {
        res.writeHead(503).end();
        return;
      }
      const contacts = this.users[user];
      res.writeHead(contacts ? 200 : 404, { 'Content-Type': 'application/json' });
      res.end(JSON.stringify(contacts ?? {}));
    });
    await new Promise((done) => { this.backend.listen(0, '127.0.0.1', done); });

    const ports = await this.runServer(servers[server]);
    [this.c2s] = ports;
    this.settings = (address) => `
[server]
listen = ["${address}"]
[bosh]
${bosh}
[websocket]
${websocket}
[admin]
${admin}
[[host]]
domain = "${domain}"
upstream = "xmpp://127.0.0.1:${this.c2s}"
upstream_tls = "plain"
${servers[server].host?.(this, ports) ?? ''}
http_roster_url = "${rosters ?? `http://127.0.0.1:${this.backend.address().port}/contacts/%s`}"
`;
    await this.runGateway(listen);
    this.port = Number(/listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(this.gateway.output())[1]);
    this.fronts = fronts(this.port);
    servers[server].ready?.(this);
    this.url = this.fronts.bosh;
  }

  async runGateway(listen) {
    const config = this.file('rostergate.toml', this.settings(listen));
    this.gateway = this.start('rostergate', this.binary, ['serve', '--config', config]);
    await this.gateway.says('listening on http://');
  }

  /** Ends the gateway, as an operator would or as a crash does, and starts it anew where it was; `between` runs while there is none. */
  async restart(signal = 'SIGTERM', between = async () => {}) {
    this.gateway.child.kill(signal);
    await this.gateway.end();
    await between();
    rmSync(this.gateway.log);
    await this.runGateway(`127.0.0.1:${this.port}`);
  }

  /** Runs an XMPP server that has the users; gives its ports. */
  async runServer(server) {
    for (let attempt = 0; attempt < 10; attempt += 1) {
      const ports = await freePorts(server.ports);
      const program = server.start(this, ports);
      await until(() => {
        const output = program.output();
        assert.ok(!program.over, `${program.name} does not start (make deps):\n${output}`);
        return output.includes(server.refused)
          || ports.every((port) => output.includes(server.listens(port)));
      }, () => `${program.name} to start; it said\n${program.output().slice(-4000)}`, 4 * PATIENCE);
      if (!program.output().includes(server.refused)) {
        await server.register?.(this, ports);
        return ports;
      }
      // Somebody else has taken a port between our asking and the server's binding it.
      await program.stop();
      rmSync(program.log);
    }
    return assert.fail('no free ports for an XMPP server');
  }

  file(name, text) {
    writeFileSync(join(this.folder, name), text);
    return join(this.folder, name);
  }

  /** Runs a program until it ends, or the site does. */
  start(name, command, args, options) {
    const program = new Program(this.folder, name, command, args, options);
    this.programs.push(program);
    return program;
  }

  /** What it says of a password that is no token, or of a user. */
  judges(question) {
    const user = question.get('user');
    return user in this.users && [null, this.password(user)].includes(question.get('pass'));
  }

  /** What the gateway's admin API answers its own program. */
  async ask(path, body) {
    const url = `http://127.0.0.1:${this.port}/roster_admin/${path}`;
    const response = await fetch(url, { method: 'POST', body: JSON.stringify(body) });
    const answer = await response.json();
    assert.equal(response.status, 200, JSON.stringify(answer));
    return answer;
  }

  password(user) {
    return `secret-${user}`;
  }

  /** Gives `user` other contacts, and tells the gateway. */
  async change(user, contacts) {
    this.users[user] = contacts;
    const response = await fetch(`http://127.0.0.1:${this.port}/roster_admin/refresh`, {
      method: 'POST', body: JSON.stringify([user]),
    });
    assert.deepEqual(await response.json(),
      { status: 'ok', message: 'roster update complete', updated: 1, errors: 0 });
  }

  async stop() {
    for (const program of this.programs.reverse()) await program.stop();
    this.backend?.closeAllConnections();
    this.backend?.close();
    await remove(this.folder);
  }
}

/** Removes a folder. A browser's last processes may write there for a moment after it has ended; `maxRetries` looks no second time. */
async function remove(folder) {
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    try {
      return rmSync(folder, { recursive: true, force: true });
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await pause(50);
    }
  }
}

/** Compiles a client in C or C++ against Debian's libraries; gives the program's path. */
export async function compile(site, source, compiler, libraries) {
  const flags = await capture('pkg-config', ['--cflags', '--libs', ...libraries]);
  const program = join(site.folder, source.replace(/\..*/, ''));
  const path = fileURLToPath(new URL(source, import.meta.url));
  await capture(compiler, ['-O1', '-Wall', '-o', program, path, ...flags.trim().split(/\s+/)]);
  return program;
}

function capture(command, args) {
  return new Promise((done, fail) => {
    const child = spawn(command, args);
    let text = '';
    child.stdout.on('data', (data) => { text += data; });
    child.stderr.on('data', (data) => { text += data; });
    child.on('error', (error) => fail(new Error(`${command}: ${error.message} (make deps)`)));
    child.on('exit', (code) => (code === 0 ? done(text)
      : fail(new Error(`${command} has ended with ${code} (make deps):\n${text}`))));
  });
}
