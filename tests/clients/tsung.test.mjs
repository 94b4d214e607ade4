// Tsung's users over BOSH: a load, and a client, that somebody else has made up.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Site, domain, freePorts } from './support.mjs';

const USERS = 30;
const MESSAGES = 10; // from each of them
const code = '/usr/lib/x86_64-linux-gnu/tsung';
const users = Array.from({ length: USERS }, (_, i) => `user${i + 1}`);
/** Everybody knows the two on either side. */
const friends = (i) => [-2, -1, 1, 2].map((step) => users.at((i + step) % USERS));
const template = readFileSync(fileURLToPath(new URL('tsung.xml', import.meta.url)), 'utf8');
let site;

before(async () => {
  const contacts = (i) => Object.fromEntries(friends(i).map((user) => [`${user}@${domain}`, {}]));
  site = await Site.start({
    users: Object.fromEntries(users.map((user, i) => [user, contacts(i)])),
  });
});

after(() => site?.stop());

/** The template with what is in capitals filled in. */
function fill(text, values) {
  const all = { USERS, MESSAGES, PORT: site.port, DOMAIN: domain, PATH: '/http-bind', ...values };
  return text.replace(/\b(USERS|MESSAGES|PORT|DOMAIN|PATH)\b/g, (name) => all[name]);
}

/** Runs a scenario to its end, as `tsung start` would; gives what Tsung has written of it. */
async function load(scenario) {
  // The process is ours to stop, with no shell before it; nobody else finds Erlang's port mapper,
  // and nothing listens to the network.
  const [port] = await freePorts(1);
  const env = {
    ...process.env,
    HOME: site.folder,
    ERL_CRASH_DUMP: join(site.folder, 'tsung.crash'),
    ERL_EPMD_ADDRESS: '127.0.0.1',
    ERL_EPMD_PORT: String(port),
  };
  await site.start(`epmd-${port}`, 'epmd', ['-d'], { env }).says('epmd running');

  const folder = mkdtempSync(join(site.folder, 'load-'));
  const string = JSON.stringify; // a JSON string is an Erlang string
  const settings = {
    config_file: string(site.file('tsung.xml', scenario)),
    debug_level: 5,
    exclude_tag: string(''),
    keep_web_gui: false,
    log_dir: string(`${folder}/`),
    mon_file: string('tsung.log'),
    smp_disable: true,
    warm_time: 0,
    web_gui: false,
  };
  const tsung = site.start(`tsung-${port}`, 'erl', [
    '-noinput', '-start_epmd', 'false', '-kernel', 'inet_dist_use_interface', '{127,0,0,1}',
    '-sname', `tsung_controller_${port}@localhost`, '-setcookie', 'tsung',
    '-pa', `${code}/tsung-1.7.0/ebin`, `${code}/tsung_controller-1.7.0/ebin`,
    '-s', 'tsung_controller', '-sasl', 'sasl_error_logger', 'false',
    ...Object.entries(settings).flatMap(([key, value]) => ['-tsung_controller', key, `${value}`]),
  ], { env });
  const how = await tsung.end();
  const [run] = readdirSync(folder);
  assert.ok(how === 0 && run, `Tsung has ended with ${how} (make deps):\n${tsung.output()}`);
  const file = (name) => readFileSync(join(folder, run, name), 'utf8');
  return { counts: sums(file('tsung.log')), traffic: file('tsung.dump') };
}

/** What each statistic has counted, over all reports. */
function sums(log) {
  const counts = {};
  for (const [, name, count] of log.matchAll(/^stats: (\w+) (\d+)/gm)) {
    counts[name] = (counts[name] ?? 0) + Number(count);
  }
  return counts;
}

/** How many of the strings there are of each. */
const tally = (strings) => strings.reduce(
  (all, one) => all.set(one, (all.get(one) ?? 0) + 1), new Map());

test('many users log in, see their friends, chat, ping, and log out', async () => {
  const { counts, traffic } = await load(fill(template));

  assert.deepEqual(Object.keys(counts).filter((name) => /error|timeout|abort/.test(name)), []);
  for (const name of ['users_count', 'finish_users_count', 'connect',
    'tr_login', 'tr_list', 'tr_ping', 'tr_logout']) {
    assert.equal(counts[name], USERS, name);
  }

  const received = traffic.match(/^Recv:.*/gm).join('\n');
  const sent = traffic.match(/^Send:.*/gm).join('\n');
  const ids = (text) => Array.from(text.matchAll(/<message [^>]*\bid='(\d+)'/g), ([, id]) => id);
  assert.equal(new Set(ids(sent)).size, USERS * MESSAGES);
  assert.deepEqual(ids(received).sort(), ids(sent).sort(), 'each message once');

  assert.equal(received.match(/<iq [^>]*\bid='ping'/g).length, USERS);
  assert.doesNotMatch(received, /type='error'/);

  const lists = received.match(/<query xmlns='jabber:iq:roster'.*?<\/query>/g)
    .map((list) => list.match(/\w+(?=@example\.org)/g).sort().join());
  assert.deepEqual(tally(lists), tally(users.map((_, i) => friends(i).sort().join())));
  const seen = new Set(received.match(/<presence [^>]*>/g)
    .filter((tag) => !tag.includes('unavailable'))
    .map((tag) => ['from', 'to'].map((name) => (
      new RegExp(` ${name}='(\\w+)@`).exec(tag)?.[1])).join(' to ')));
  for (const [i, user] of users.entries()) {
    const missed = friends(i).filter((friend) => !seen.has(`${user} to ${friend}`));
    assert.deepEqual(missed, [], `have not seen ${user}`);
  }

  const log = site.gateway.output();
  assert.doesNotMatch(log, /WARN|ERROR/);
  assert.equal(log.match(/session ended .* end=terminated/g).length, USERS);
});

test('over WebSocket, its streams of before RFC 7395 are refused by an error that says so', async () => {
  const old = template.replace('type="bosh"', 'type="websocket"')
    .replace('bosh_path', 'websocket_path')
    .replace('<load>', '<load duration="9" unit="second">') // it never sees the end of a user whose connection was closed
    .replace('<options>', `<options>
      <option name="websocket_frame" value="text"/>
      <option name="websocket_subprotocols" value="xmpp"/>`)
    .replace(/(<session .*?>).*(<\/session>)/s, `$1
      <request><jabber type="connect" ack="local"/></request>
      <thinktime value="7"/>$2`);
  const { traffic } = await load(fill(old, { USERS: 1, PATH: '/xmpp-websocket' }));
  assert.match(traffic, /^Send:.*<stream:stream /m);
  assert.match(traffic, /^Recv:.*<invalid-namespace .*RFC 7395/m);
});
