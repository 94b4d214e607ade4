// Starts the demo: a real Prosody, rostergate, and the sample site. Stops them all on Ctrl-C.
//
//   demo/run [--cluster] [--binary ROSTERGATE] [--port N] [--ports-file FILE]
//
//   --cluster             three gateways that are one (docs/several-gateways.md), with the NATS over which they find
//                         each other, and HAProxy before them; the page can kill them
//   --binary ROSTERGATE   use this program instead of building one with cargo
//   --port N              where the page should be (8420; another one when that is taken)
//   --ports-file FILE     when all is ready, write {"url", "gateway", "pids"} there (for tests)
//
// Nothing outside demo/ is touched: configurations, accounts and logs live in a new folder in
// demo/.run, removed at the end unless something failed.

import { randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, renameSync, writeFileSync } from 'node:fs';
import { join, resolve as resolvePath } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { balancerConfig, gatewayConfig, prosodyConfig } from './configs.mjs';
import { answersStream, freePorts, hasPrinted, kill, logTo, ready, run, running, say, start, stop } from './programs.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = join(here, '..');
const { values: options } = parseArgs({
  options: {
    binary: { type: 'string' },
    cluster: { type: 'boolean', default: false },
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
const names = options.cluster ? ['a', 'b', 'c'] : [];
// Debian has servers where only root looks for programs.
process.env.PATH += ':/usr/local/sbin:/usr/sbin:/sbin';

/** Whether all gateways answer as one, through the balancer. */
async function areOne(url) {
  try {
    const response = await fetch(`${url}roster_admin/status`, { signal: AbortSignal.timeout(2000) });
    return (await response.json()).gateways?.length === names.length;
  } catch {
    return false;
  }
}

async function main() {
  // The first step is demo/run's.
  const begun = process.env.DEMO_BEGUN ? process.env.DEMO_BEGUN * 1000 : Date.now();
  const step = (text) => say(`${((Date.now() - begun) / 1000).toFixed(1).padStart(6)} s  ${text}`);

  let binary = options.binary && resolvePath(options.binary);
  if (!binary) {
    step('2/5  building rostergate: cargo build --profile demo, a minute or two the first time');
    await run('cargo', ['build', '--profile', 'demo', '--locked'], root);
    binary = resolvePath(root, process.env.CARGO_TARGET_DIR ?? 'target', 'demo', 'rostergate');
  }

  mkdirSync(join(here, '.run'), { recursive: true });
  const folder = mkdtempSync(join(here, '.run', 'demo-'));
  logTo(folder);
  const first = Number(options.port);
  const wanted = [first, ...people.map((_, i) => first && first + 1 + i), 0, 0, 0, ...names.map(() => 0)];
  const [site, ...ports] = await freePorts(wanted);
  for (const person of people) person.port = ports.shift();
  // `gateway` is where all others come: the only one, or the balancer before several.
  const [prosody, nats, gateway] = ports.splice(0, 3);
  const gateways = names.map((name) => ({ name, port: ports.shift() }));
  const write = (name, text) => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };

  const token = randomUUID();
  const startGateway = ({ name, port }) => {
    const called = name ? `rostergate-${name}` : 'rostergate';
    const config = gatewayConfig({ domain, port, prosody, site, token, name, nats });
    return start(called, binary, ['serve', '--config', write(`${called}.toml`, config)]);
  };

  step(`3/5  starting Prosody on port ${prosody}`);
  const server = start('prosody', 'prosody',
    ['--config', write('prosody.cfg.lua', prosodyConfig({ folder, root, domain, port: prosody, gateway })), '-F']);
  if (options.cluster) {
    step(`4/5  starting NATS on port ${nats}, three gateways, and HAProxy before them on port ${gateway}`);
    const broker = start('nats', 'nats-server', ['--addr', '127.0.0.1', '--port', String(nats)]);
    await ready(broker, hasPrinted(broker, 'Server is ready'));
    gateways.forEach(startGateway);
    const balancer = start('haproxy', 'haproxy', ['-db', '-f', write('haproxy.cfg', balancerConfig({ port: gateway, gateways }))]);
    await ready(balancer, () => areOne(`http://127.0.0.1:${gateway}/`));
  } else {
    step(`4/5  starting rostergate on port ${gateway}`);
    const gate = startGateway({ port: gateway });
    await ready(gate, hasPrinted(gate, 'listening on http://'));
  }
  step(`5/5  starting the sample site on port ${site}`);
  const config = { domain, port: site, gateway: { host: '127.0.0.1', port: gateway }, gateways, people, eventsToken: token };
  const web = start('site', process.execPath, [join(here, 'site.mjs'), write('site.json', JSON.stringify(config))],
    { talks: true });
  await ready(server, () => answersStream(prosody, domain));
  await ready(web, hasPrinted(web, 'listening on http://'));
  // The page has buttons that kill a gateway, and start it again.
  web.child.on('message', ({ name, isToRun }) => {
    const one = gateways.find((it) => it.name === name);
    const runs = running.some((it) => it.name === `rostergate-${name}`);
    if (one && isToRun && !runs) startGateway(one);
    if (one && !isToRun && runs) kill(`rostergate-${name}`);
  });
  step('ready: each of them answers');

  const url = `http://127.0.0.1:${site}/`;
  if (options['ports-file']) {
    const pids = Object.fromEntries(running.map(({ name, child }) => [name, child.pid]));
    const told = { url, gateway: `http://127.0.0.1:${gateway}/`, pids };
    writeFileSync(`${options['ports-file']}.new`, JSON.stringify(told));
    renameSync(`${options['ports-file']}.new`, options['ports-file']);
  }
  say(`\n  Open  ${url}\n\n  Ctrl-C here stops everything. Logs: ${folder}\n`);
}

process.on('SIGINT', () => stop(0, 'Stopping.'));
process.on('SIGTERM', () => stop(0, 'Stopping.'));
process.on('SIGHUP', () => stop(0));
main().catch((error) => stop(1, error.message));
