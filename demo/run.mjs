// Starts the demo: a real Prosody, rostergate, and the sample site. Stops them all on Ctrl-C.
//
//   demo/run [--binary ROSTERGATE] [--port N] [--ports-file FILE]
//
//   --binary ROSTERGATE   use this program instead of building one with cargo
//   --port N              where the page should be (8420; another one when that is taken)
//   --ports-file FILE     when all is ready, write {"url", "gateway", "pids"} there (for tests)
//
// Nothing outside demo/ is touched: configurations, accounts and logs live in a new folder in
// demo/.run, removed at the end unless something failed.

import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, openSync, readFileSync, renameSync, rmSync, writeFileSync }
  from 'node:fs';
import { connect, createServer } from 'node:net';
import { join, resolve as resolvePath } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = join(here, '..');
const { values: options } = parseArgs({
  options: {
    binary: { type: 'string' },
    port: { type: 'string', default: '8420' },
    'ports-file': { type: 'string' },
  },
});

const domain = 'example.org';
const people = [
  { user: 'alice', name: 'Alice', front: 'websocket', friends: ['carol'] },
  { user: 'bob', name: 'Bob', front: 'bosh', friends: ['dave'] },
  { user: 'carol', name: 'Carol', front: 'websocket' },
  { user: 'dave', name: 'Dave', front: 'bosh' },
];
const READY = 20_000; // ms, for each program to answer
const GRACE = 5_000; // ms, for each program to stop when asked

// ---- programs ---------------------------------------------------------------------------------

const running = []; // { name, log, child, ended }, in the order they were started
let folder;
let stopping = false;

const say = (text) => process.stdout.write(`${text}\n`);
const tail = (log) => readFileSync(log, 'utf8').trimEnd().split('\n').slice(-20).join('\n  ');

/** A program that writes to a log, and that the kernel ends should this process be killed. */
function start(name, command, args) {
  const log = join(folder, `${name}.log`);
  const out = openSync(log, 'a');
  const guarded = ['--pdeathsig', 'KILL', '--', command, ...args];
  // A process group of its own: Ctrl-C in a terminal reaches this process only, which then stops
  // the programs one after the other.
  const child = spawn('setpriv', guarded, { cwd: folder, detached: true, stdio: ['ignore', out, out] });
  const program = { name, log, child };
  program.ended = new Promise((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('exit', (code, signal) => resolve(signal ?? `code ${code}`));
  });
  program.ended.then((how) => {
    if (!stopping) stop(1, `${name} has ended (${how}). Its last words:\n\n  ${tail(log)}\n`);
  });
  running.push(program);
  return program;
}

/** Stops everything, last started first, waits for it, and exits. */
async function stop(code, reason) {
  if (stopping) return;
  stopping = true;
  if (reason) say(`\n${reason}`);
  for (const { child, ended } of running.reverse()) {
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), GRACE);
    await ended;
    clearTimeout(timer);
  }
  if (code === 0 && folder) rmSync(folder, { recursive: true, force: true });
  if (code !== 0 && folder) say(`Configurations and logs are in ${folder}`);
  process.exit(code);
}

/** Tries `probe` until it succeeds; the program must answer within READY. */
async function ready(program, probe) {
  const deadline = Date.now() + READY;
  while (!stopping) {
    if (await probe()) return;
    if (Date.now() > deadline) {
      await stop(1, `${program.name} does not answer. Its last words:\n\n  ${tail(program.log)}\n`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await new Promise(() => {}); // stop() ends the process
}

const hasPrinted = (program, text) => () => readFileSync(program.log, 'utf8').includes(text);

/** Whether an XMPP server answers a stream header on `port`. */
function answersStream(port) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.write(`<stream:stream to='${domain}' version='1.0' xmlns='jabber:client' `
        + "xmlns:stream='http://etherx.jabber.org/streams'>");
    });
    socket.setTimeout(1000, () => socket.destroy());
    socket.once('data', () => socket.end(resolve(true)));
    socket.on('error', () => {});
    socket.on('close', () => resolve(false));
  });
}

/** Free ports, the preferred ones where possible; all are held until the last has been found. */
async function freePorts(preferred) {
  const bind = (port) => new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(port, '127.0.0.1', () => resolve(server));
  });
  const servers = [];
  for (const port of preferred) servers.push(await bind(port).catch(() => bind(0)));
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** Runs a command to its end, in sight; stopping ends it as it ends the others. */
async function run(command, args) {
  const child = spawn(command, args, { cwd: root, stdio: 'inherit' });
  const ended = new Promise((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('exit', resolve);
  });
  running.push({ child, ended });
  const how = await ended;
  if (how !== 0) await stop(1, `${command} ${args[0]} has ended (${how})`);
  running.pop();
}

// ---- what each of them needs ------------------------------------------------------------------

function prosodyConfig(port, gateway) {
  const lua = JSON.stringify; // paths and numbers: a JSON string is a Lua string
  return `
${process.getuid() === 0 ? 'run_as_root = true' : ''}
data_path = ${lua(join(folder, 'data'))}
pidfile = ${lua(join(folder, 'prosody.pid'))}
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
plugin_paths = { ${lua(join(root, 'contrib/prosody'))} }
authentication = "rostergate"
rostergate_auth_url = "http://127.0.0.1:${gateway}/xmpp_auth"

VirtualHost "${domain}"
`;
}

const gatewayConfig = (port, prosody, site, token) => `
[server]
listen = ["127.0.0.1:${port}"]

[[host]]
domain = "${domain}"
upstream = "xmpp://127.0.0.1:${prosody}"
http_roster_url = "http://127.0.0.1:${site}/contacts/%s"
messages_from = "contacts"
login = "http"
events_url = "http://127.0.0.1:${site}/chat-events"
events_token = "${token}"
offline_after = "2s"
`;

async function main() {
  // The first step is demo/run's.
  const begun = process.env.DEMO_BEGUN ? process.env.DEMO_BEGUN * 1000 : Date.now();
  const step = (text) => say(`${((Date.now() - begun) / 1000).toFixed(1).padStart(6)} s  ${text}`);

  let binary = options.binary && resolvePath(options.binary);
  if (!binary) {
    step('2/5  building rostergate: cargo build --profile demo, a minute or two the first time');
    await run('cargo', ['build', '--profile', 'demo', '--locked']);
    binary = resolvePath(root, process.env.CARGO_TARGET_DIR ?? 'target', 'demo', 'rostergate');
  }

  mkdirSync(join(here, '.run'), { recursive: true });
  folder = mkdtempSync(join(here, '.run', 'demo-'));
  const first = Number(options.port);
  const wanted = [first, ...people.map((_, i) => first && first + 1 + i), 0, 0];
  const ports = await freePorts(wanted);
  const [site, prosody, gateway] = [ports.shift(), ports.pop(), ports.pop()];
  people.forEach((person, i) => {
    person.port = ports[i];
  });
  const write = (name, text) => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };

  const eventsToken = randomUUID();
  step(`3/5  starting Prosody on port ${prosody}`);
  const server = start('prosody', 'prosody',
    ['--config', write('prosody.cfg.lua', prosodyConfig(prosody, gateway)), '-F']);
  step(`4/5  starting rostergate on port ${gateway}`);
  const gate = start('rostergate', binary,
    ['serve', '--config', write('rostergate.toml', gatewayConfig(gateway, prosody, site, eventsToken))]);
  step(`5/5  starting the sample site on port ${site}`);
  const web = start('site', process.execPath, [join(here, 'site.mjs'), write('site.json',
    JSON.stringify({ domain, port: site, gateway: { host: '127.0.0.1', port: gateway }, people, eventsToken }))]);

  await ready(server, () => answersStream(prosody));
  await ready(gate, hasPrinted(gate, 'listening on http://'));
  await ready(web, hasPrinted(web, 'listening on http://'));
  step('ready: each of them answers');

  const url = `http://127.0.0.1:${site}/`;
  if (options['ports-file']) {
    const pids = Object.fromEntries(running.map(({ name, child }) => [name, child.pid]));
    const ports = { url, gateway: `http://127.0.0.1:${gateway}/`, pids };
    writeFileSync(`${options['ports-file']}.new`, JSON.stringify(ports));
    renameSync(`${options['ports-file']}.new`, options['ports-file']);
  }
  say(`\n  Open  ${url}\n\n  Ctrl-C here stops everything. Logs: ${folder}\n`);
}

process.on('SIGINT', () => stop(0, 'Stopping.'));
process.on('SIGTERM', () => stop(0, 'Stopping.'));
process.on('SIGHUP', () => stop(0));
main().catch((error) => stop(1, error.message));
