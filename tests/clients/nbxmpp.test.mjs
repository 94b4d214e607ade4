// nbxmpp 0.6, Gajim's library until 2020, over BOSH and behind Nginx: it knows header names in title case only.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { Site, domain, freePorts, root, until } from './support.mjs';

const folder = join(root, 'tests/clients/nbxmpp');
const python = join(folder, 'venv/bin/python');
let site;
let url;

before(async () => {
  assert.ok(existsSync(python), 'nbxmpp is missing: make deps installs it');
  site = await Site.start({
    bosh: 'wait = "5s"\ninactivity = "10s"',
    users: {
      alice: { 'bob@example.org': { name: 'Bob <3', groups: ['Friends'] } },
      bob: { 'alice@example.org': { name: 'Alice' } },
    },
  });
  const [port] = await freePorts(1);
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${join(site.folder, name)};`).join(' ');
  site.start('nginx', 'nginx', ['-p', site.folder, '-c', site.file('nginx.conf', `
daemon off;
pid nginx.pid;
error_log stderr;
events {}
http {
  access_log off;
  ${temporary}
  server {
    listen 127.0.0.1:${port};
    location = /http-bind {
      proxy_pass http://127.0.0.1:${site.port}/http-bind;
      proxy_buffering off;
    }
  }
}
`)]);
  url = `http://127.0.0.1:${port}/http-bind`;
  await until(() => fetch(url).catch(() => null), 'nginx to listen');
});

after(() => site?.stop());

const start = (user) => site.start(`nbxmpp-${user}`, python,
  [join(folder, 'client.py'), url, domain, user, site.password(user)]);

/** Who came and went, but for oneself. */
const seen = (person, other) => person.output().match(new RegExp(`^presence ${other}@.*`, 'gm')) ?? [];

test('login, the backend\'s list, presence, messages both ways, a push, a clean end', async () => {
  const alice = start('alice');
  await alice.says('contact bob@example.org Bob <3 / Friends\nroster 1');
  await alice.says('presence alice@example.org/nbxmpp available');
  const bob = start('bob');
  await bob.says('contact alice@example.org Alice /\nroster 1');
  await alice.says('presence bob@example.org/nbxmpp available');
  await bob.says('presence alice@example.org/nbxmpp available');

  for (let i = 0; i < 10; i += 1) alice.tell(`bob@example.org hello ${i} & <good> day`);
  await bob.says('message alice@example.org/nbxmpp hello 9 & <good> day');
  const heard = bob.output().match(/^message .*/gm).map((line) => / hello \d/.exec(line)[0]);
  assert.deepEqual(heard, Array.from({ length: 10 }, (_, i) => ` hello ${i}`), 'each once, in order');
  bob.tell('alice@example.org and to you');
  await alice.says('message bob@example.org/nbxmpp and to you');

  await site.change('alice', {
    'bob@example.org': { name: 'Robert' }, 'carol@example.org': { name: 'Carol' },
  });
  await alice.says('push bob@example.org Robert');
  await alice.says('push carol@example.org Carol');

  bob.tell('quit');
  assert.equal(await bob.end(), 0, bob.output());
  await alice.says('presence bob@example.org/nbxmpp unavailable');
  alice.tell('quit');
  assert.equal(await alice.end(), 0, alice.output());
  assert.equal(seen(alice, 'bob').length, 2, 'came once and went once');
  assert.equal(seen(bob, 'alice').length, 1, 'came once');
});
