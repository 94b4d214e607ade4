// The examples of sites, used by members who become friends, chat, and part: the same for each.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { setOffline } from '../clients/browser.mjs';
import { PATIENCE, until } from '../clients/support.mjs';
import { EXAMPLES, Example } from './examples.mjs';

for (const name of Object.keys(EXAMPLES)) {
  test(`the site in ${name}: friends, and their chats, without a password in the page`, { timeout: 6 * PATIENCE }, async (t) => {
    const example = await Example.start(name);
    t.after(() => example.stop());
    const [marie, john, bob] = [await example.join('Marie'), await example.join('John'), await example.join('Bob')];

    await john.add(bob);
    await john.send('Log out');
    await john.fill('/login', { username: 'john', password: 'wrong' });
    await john.send('Log in');
    await john.page.getByRole('alert').getByText('not right').waitFor();
    await john.fill('/login', { username: 'john', password: 'correct horse' });
    await john.send('Log in');
    await john.openChat();
    await john.inChat(bob).waitFor();

    await marie.openChat();
    await marie.add(john);
    await john.inChat(marie, 'online').waitFor();
    await marie.inChat(john, 'online').waitFor();
    await marie.page.reload();
    await marie.page.getByText('John (online)').waitFor();

    // A session that is lost, while the list changes.
    await setOffline(john.chat, true);
    assert.equal((await example.endSessions('john')).ended, 1);
    await marie.remove(john);
    await john.page.reload();
    await john.remove(bob);
    await setOffline(john.chat, false);
    await john.inChat(marie).waitFor({ state: 'detached' });
    await john.inChat(bob).waitFor({ state: 'detached' });
    await john.add(marie);
    await john.inChat(marie, 'online').waitFor();

    await john.send('Log out');
    assert.equal(await john.page.evaluate(async () => (await fetch('/chat-credentials')).status), 403);
    await marie.inChat(john, 'offline').waitFor();

    // Another gateway of the same site, which has counted less.
    const isOnline = async () => {
      await marie.page.reload();
      await marie.page.getByText('John').waitFor();
      return marie.page.getByText('John (online)').isVisible();
    };
    await until(async () => !await isOnline(), 'the end of his session');
    const event = (id, type) => ({ id, type, user: 'john', at: '2026-01-01T00:00:00Z' });
    await example.tell('b', [event(7, 'online')]);
    assert.ok(await isOnline());
    await example.tell('b', [event(7, 'offline')]);
    assert.ok(await isOnline(), 'it has come before');
    await Promise.all([example.tell('b', [event(8, 'offline')]), example.tell('c', [event(3, 'gap')])]);
    assert.ok(!await isOnline());
  });
}
