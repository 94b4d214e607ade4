// libpurple, the library of Pidgin 2, over BOSH: two programs of ours on Debian's library.

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { Site, compile, domain } from './support.mjs';

let site;
let program;

before(async () => {
  site = await Site.start({
    bosh: 'wait = "30s"\ninactivity = "5s"',
    users: {
      alice: { 'bob@example.org': { name: 'Bob <3', groups: ['Friends'] } },
      bob: { 'alice@example.org': { name: 'Alice', groups: ['Work'] } },
    },
  });
  program = await compile(site, 'libpurple.c', 'gcc', ['purple']);
});

after(() => site?.stop());

function start(user) {
  const folder = join(site.folder, `purple-${user}`);
  mkdirSync(folder);
  return site.start(`libpurple-${user}`, program,
    [folder, site.url, `${user}@${domain}/desk`, site.password(user)]);
}

test('login, the backend\'s list, presence, messages both ways, a push, the end', async () => {
  const alice = start('alice');
  await alice.says('signed-on');
  await alice.says('buddy bob@example.org Friends');
  const bob = start('bob');
  await bob.says('buddy alice@example.org Work');
  await alice.says('online bob@example.org');
  await bob.says('online alice@example.org');

  for (let i = 0; i < 5; i += 1) alice.tell(`bob@example.org hello ${i} & <good> day`);
  await bob.says('hello 4 & <good> day');
  assert.deepEqual(bob.output().match(/(?<=^message .*)hello \d/gm),
    Array.from({ length: 5 }, (_, i) => `hello ${i}`), 'each once, in order');
  bob.tell('alice@example.org and to you');
  await alice.says('and to you');

  await site.change('alice', {
    'bob@example.org': { name: 'Robert', groups: ['Friends'] },
    'carol@example.org': { name: 'Carol', groups: ['Friends'] },
  });
  await alice.says('buddy carol@example.org Friends');

  for (const person of [alice, bob]) {
    person.tell('quit');
    assert.equal(await person.end(), 0, person.output());
  }
  await site.gateway.says('session ended');
});
