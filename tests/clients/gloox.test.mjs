// gloox, over BOSH: two programs of ours on Debian's library.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Site, compile, domain } from './support.mjs';

let site;
let program;

before(async () => {
  site = await Site.start({
    bosh: 'path = "/http-bind/"\nwait = "2s"\ninactivity = "10s"',
    users: {
      alice: { 'bob@example.org': { name: 'Bob <3', groups: ['Friends'] } },
      bob: { 'alice@example.org': { name: 'Alice' } },
    },
  });
  program = await compile(site, 'gloox.cpp', 'g++', ['gloox']);
});

after(() => site?.stop());

const start = (user) => site.start(`gloox-${user}`, program,
  ['127.0.0.1', site.port, domain, user, site.password(user)]);

test('login, the backend\'s list, presence, messages both ways, a push, a clean end', async () => {
  const alice = start('alice');
  await alice.says('contact bob@example.org Bob <3 / Friends\nroster 1');
  const bob = start('bob');
  await bob.says('contact alice@example.org Alice / \nroster 1');
  await alice.says('presence bob@example.org');
  await bob.says('presence alice@example.org');

  for (let i = 0; i < 10; i += 1) alice.tell(`bob@example.org hello ${i} & <good> day`);
  await bob.says('message alice@example.org hello 9 & <good> day');
  const heard = bob.output().match(/^message .*/gm).map((line) => line.slice(26, 33));
  assert.deepEqual(heard, Array.from({ length: 10 }, (_, i) => `hello ${i}`), 'each once, in order');
  bob.tell('alice@example.org and to you');
  await alice.says('message bob@example.org and to you');

  await site.change('alice', {
    'bob@example.org': { name: 'Robert' }, 'carol@example.org': { name: 'Carol' },
  });
  await alice.says('updated bob@example.org');
  await alice.says('added carol@example.org');

  for (const person of [alice, bob]) {
    person.tell('quit');
    assert.equal(await person.end(), 0, person.output());
  }
  await site.gateway.says('session ended');
});
