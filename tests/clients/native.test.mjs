// Native clients, on TCP streams to Prosody itself, beside a page through the gateway, which writes the lists into it:
// nbxmpp (Gajim's library), libpurple (Pidgin's), libstrophe (Profanity's), stanza.js.

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { gajim, stanzaJs } from './programs.mjs';
import { Site, compile, domain, until } from './support.mjs';

let site;
let program;
let strophe;

before(async () => {
  site = await Site.start({ server: 'prosodyWithLists', users: { alice: {}, bob: {}, carol: {} } });
  program = await compile(site, 'libpurple.c', 'gcc', ['purple']);
  strophe = await compile(site, 'strophe.c', 'gcc', ['libstrophe']);
});

after(() => site?.stop());

/** A client on libpurple, on a TCP stream. */
function pidgin(user) {
  const folder = join(site.folder, `purple-${user}`);
  mkdirSync(folder);
  return site.start(`libpurple-${user}`, program,
    [folder, String(site.c2s), `${user}@${domain}/desk`, site.password(user)]);
}

const jid = (user) => `${user}@${domain}`;

test('native clients and a page have the same list; presence and avatars flow while both are on it', async () => {
  const native = gajim(site, `xmpp://127.0.0.1:${site.c2s}`, 'alice');
  const bob = pidgin('bob');
  const page = stanzaJs(site, site.fronts.websocket, 'alice');
  const carol = stanzaJs(site, site.fronts.bosh, 'carol');
  const profane = site.start('strophe-alice', strophe,
    [String(site.c2s), `${jid('alice')}/strophe`, site.password('alice')]);
  const alice = () => native.look();
  const avatars = (user) => alice().avatars.filter((who) => who === jid(user)).length;
  await bob.says('signed-on');
  await until(() => page.jid && carol.jid && alice().online.length === 3, 'all of them');
  await profane.says('roster');
  native.publish('alice in the garden');
  await until(() => avatars('alice') === 1, 'her own avatar');
  await carol.publish('carol-in-town');

  await site.change('alice', {
    [jid('bob')]: { name: 'Bob <3', groups: ['Friends'] }, [jid('carol')]: { name: 'Carol' },
  });
  await site.change('bob', { [jid('alice')]: { name: 'Alice', groups: ['Work'] } });
  await site.change('carol', { [jid('alice')]: { name: 'Alice' } });
  const list = { [jid('bob')]: 'Bob <3', [jid('carol')]: 'Carol' };
  for (const app of [alice, () => page]) {
    await until(() => Object.keys(app().roster).length === 2, 'the list');
    assert.deepEqual({ ...app().roster }, list);
    assert.deepEqual(app().groups[jid('bob')], ['Friends']);
  }
  await profane.says(`contact ${jid('bob')} both Bob <3`);
  await profane.says(`presence ${jid('bob')}/desk available`);
  await bob.says(`buddy ${jid('alice')} Work`);
  await bob.says(`online ${jid('alice')}`);
  await until(() => alice().online.includes(`${jid('bob')}/desk`) && page.online.includes(`${jid('bob')}/desk`), 'Bob');
  await until(() => carol.online.filter((who) => who.startsWith(jid('alice'))).length === 3, 'all of Alice');
  await until(() => avatars('carol'), 'the avatar of Carol');
  await bob.says(`icon ${jid('alice')}`);

  await site.change('bob', { [jid('alice')]: { name: 'Alicia', groups: ['Work'] } });
  await bob.says(`alias ${jid('alice')} Alicia`);
  bob.tell(`${jid('alice')} hello`);
  await until(() => alice().heard.includes('hello') || page.heard.includes('hello'), 'a message');

  await site.change('alice', { [jid('carol')]: { name: 'Carol' } });
  await site.change('bob', {});
  await bob.says(`gone ${jid('alice')}`);
  for (const app of [alice, () => page]) {
    await until(() => !app().online.includes(`${jid('bob')}/desk`), 'the end of Bob');
    assert.deepEqual({ ...app().roster }, { [jid('carol')]: 'Carol' });
  }
  await profane.says(`presence ${jid('bob')}/desk unavailable\ncontact ${jid('bob')} remove`);
  native.publish('alice elsewhere');
  await until(() => avatars('alice') === 2, 'her own avatar');
  carol.logout();
  await until(() => !alice().online.some((who) => who.startsWith(jid('carol'))), 'the end of Carol');
  for (const app of [alice(), page]) {
    for (const who of ['bob', 'carol']) {
      const times = app.presences.filter((presence) => presence.startsWith(jid(who)));
      assert.equal(times.length, 2, `came once and went once: ${times}`);
    }
  }
  assert.equal(avatars('carol'), 1);
  bob.tell('quit');
  assert.equal(await bob.end(), 0, bob.output());
  assert.equal(bob.output().match(/^icon .*/gm).length, 1, 'nothing of hers since');
  native.logout();
  page.logout();
});
