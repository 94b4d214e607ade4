// Real servers for the tests of real clients: Prosody or ejabberd, rostergate, and a backend in
// this process.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync }
  from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:net';
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

/** Ports that are free, held together until the last has been found. */
export async function freePorts(count) {
  const servers = await Promise.all(Array.from({ length: count }, () => new Promise((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => done(server));
  })));
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((done) => { server.close(done); })));
  return ports;
}

/**
 * The XMPP servers: how many ports each wants (c2s first), how it is started on them, what it says
 * when it listens on one, and when it cannot.
 */
const servers = {
  prosody: {
    ports: 1,
    start: startProsody,
    listens: (port) => `Activated service 'c2s' on [127.0.0.1]:${port}`,
    refused: 'Failed to open server port',
  },
  ejabberd: {
    ports: 2,
    start: startEjabberd,
    listens: (port) => `Start accepting TCP connections at 127.0.0.1:${port} `,
    refused: 'eaddrinuse',
    register: registerAtEjabberd,
  },
};

function startProsody(site, [c2s]) {
  const accounts = join(site.folder, 'data', domain.replaceAll('.', '%2e'), 'accounts');
  mkdirSync(accounts, { recursive: true });
  for (const user of Object.keys(site.users)) {
    writeFileSync(join(accounts, `${user}.dat`), `return { ["password"] = "secret-${user}" };\n`);
  }
  const config = site.file('prosody.cfg.lua', prosodyConfig(site.folder, c2s));
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

function prosodyConfig(folder, port) {
  const lua = JSON.stringify; // paths: a JSON string is a Lua string
  return `
${process.getuid() === 0 ? 'run_as_root = true' : ''}
data_path = ${lua(join(folder, 'data'))}
pidfile = ${lua(join(folder, 'prosody.pid'))}
log = { info = "*console" }
modules_enabled = { "disco"; "offline"; "ping"; "presence"; "saslauth"; "smacks" }
modules_disabled = { "roster"; "s2s"; "tls" }
smacks_max_queue_size = 5000
interfaces = { "127.0.0.1" }
c2s_ports = { ${port} }
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "internal_plain"
VirtualHost "${domain}"
`;
}

/** The site: who has which contacts, and the servers that go with it. */
export class Site {
  /**
   * `users`: contacts by user, as the backend gives them. `bosh`, `admin`: lines of these tables.
   * `server`: prosody or ejabberd. `listen`: where the gateway listens. `rosters`: where contact lists come from, if
   * not from here.
   */
  static async start({ users, bosh = '', admin = '', server = 'prosody', listen = '127.0.0.1:0', rosters }) {
    const binary = join(target, 'debug/rostergate');
    assert.ok(existsSync(binary), 'rostergate is not built: `cargo build`, or `make clients`');
    const site = new Site();
    site.users = users;
    site.programs = [];
    site.folder = mkdtempSync(join(tmpdir(), 'rostergate-clients-'));
    try {
      await site.run(binary, { bosh, admin, server, listen, rosters });
    } catch (error) {
      await site.stop();
      throw error;
    }
    return site;
  }

  async run(binary, { bosh, admin, server, listen, rosters }) {
    this.asked = {}; // how often the backend was, by user
    this.down = new Set(); // users for whom it fails
    this.backend = createHttpServer((req, res) => {
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

    const c2s = await this.runServer(servers[server]);
    this.gateway = this.start('rostergate', binary, ['serve', '--config', this.file('rostergate.toml', `
[server]
listen = ["${listen}"]
[bosh]
${bosh}
[admin]
${admin}
[[host]]
domain = "${domain}"
upstream = "xmpp://127.0.0.1:${c2s}"
upstream_tls = "plain"
http_roster_url = "${rosters ?? `http://127.0.0.1:${this.backend.address().port}/contacts/%s`}"
`)]);
    await this.gateway.says('listening on http://');
    this.port = Number(/listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(this.gateway.output())[1]);
    this.url = `http://127.0.0.1:${this.port}/http-bind`;
  }

  /** Runs an XMPP server that has the users; gives its port for clients. */
  async runServer(server) {
    for (let attempt = 0; attempt < 10; attempt += 1) {
      const ports = await freePorts(server.ports);
      const program = server.start(this, ports);
      await until(() => {
        const output = program.output();
        assert.ok(!program.over, `${program.name} does not start (make deps):\n${output}`);
        return output.includes(server.refused)
          || ports.every((port) => output.includes(server.listens(port)));
      }, () => `${program.name} to start; it said\n${program.output().slice(-4000)}`);
      if (!program.output().includes(server.refused)) {
        await server.register?.(this, ports);
        return ports[0];
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
    rmSync(this.folder, { recursive: true, force: true });
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
