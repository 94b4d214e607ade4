// Clients that are no pages: on Node and in Python. Each knows what `app` of the pages knows.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { client as xmppClient, xml } from '@xmpp/client';
import * as stanza from 'stanza';
import WebSocket from 'ws';

import { domain, root, until } from './support.mjs';

globalThis.WebSocket ??= WebSocket; // xmpp.js wants it, and Node has it since version 22

/** What a client knows. */
const knowing = () => ({
  jid: '', roster: {}, groups: {}, online: [], heard: [], avatars: [], presences: [], sessions: 0, resumed: 0,
  contact({ jid, subscription, name, groups = [] }) {
    if (subscription === 'remove') delete this.roster[jid];
    else [this.roster[jid], this.groups[jid]] = [name, groups];
  },
  presence(from, type = 'available') {
    if (!['available', 'unavailable'].includes(type)) return;
    this.presences.push(`${from} ${type}`);
    this.online = this.online.filter((other) => other !== from);
    if (type === 'available') this.online.push(from);
  },
  get noted() { return this.heard; },
});

/** stanza.js, over either front. */
export function stanzaJs(site, url, user) {
  const app = knowing();
  const client = stanza.createClient({
    jid: `${user}@${domain}`,
    password: site.password(user),
    autoReconnect: true,
    maxReconnectBackoff: 1,
    transports: url.startsWith('ws') ? { websocket: url, bosh: false } : { bosh: url, websocket: false },
  });
  client.on('disconnected', () => { app.online = []; });
  client.on('session:started', async () => {
    app.sessions += 1;
    app.jid = client.jid;
    for (const { jid, ...item } of (await client.getRoster()).items) app.contact({ jid, ...item });
    client.sendPresence();
  });
  client.on('stream:management:resumed', () => { app.resumed += 1; });
  client.on('roster:update', ({ roster }) => { for (const item of roster.items) app.contact(item); });
  client.on('presence', ({ from, type }) => app.presence(from, type));
  client.on('message', ({ body }) => { if (body) app.heard.push(body); });
  client.connect();
  // It asks for an acknowledgement of each, and nobody hears of it if that fails: Node would end this process.
  let written = '';
  client.on('raw:outgoing', (data) => { if (!data.startsWith('<r ')) written = data; });
  app.say = async (to, texts) => {
    for (const body of texts) client.sendMessage({ to, type: 'chat', body });
    await until(() => written.includes(texts.at(-1)), 'it to be written');
  };
  app.publish = (id) => client.useAvatars([{ id, bytes: 1, mediaType: 'image/png' }]);
  app.logout = () => {
    client.config.autoReconnect = false;
    client.disconnect();
  };
  return app;
}

/** xmpp.js; what its stream management gives up is written again, as its documentation wants. */
export function xmppJs(site, url, user) {
  const app = knowing();
  const client = xmppClient({ service: url, domain, username: user, password: site.password(user) });
  const roster = 'jabber:iq:roster';
  const take = (query) => {
    for (const item of query.getChildren('item')) {
      app.contact({ ...item.attrs, groups: item.getChildren('group').map((group) => group.text()) });
    }
  };
  // Without a connection it throws; what was not sent its stream management tells.
  const send = (element) => client.send(element).catch(() => {});
  client.reconnect.delay = 300;
  client.on('error', () => {});
  client.on('online', (jid) => {
    app.sessions += 1;
    app.jid = jid.toString();
    // Its `iqCaller` would not count the answer, and so another stanza would come again after each resumption.
    send(xml('iq', { type: 'get', id: 'list' }, xml('query', roster)));
  });
  client.streamManagement.on('resumed', () => { app.resumed += 1; });
  client.streamManagement.on('fail', (lost) => { client.once('online', () => { send(lost); }); });
  client.iqCallee.set(roster, 'query', ({ element }) => {
    take(element);
    return true;
  });
  client.on('stanza', (element) => {
    const { from, type } = element.attrs;
    if (element.is('presence')) app.presence(from, type);
    if (element.is('iq') && type === 'result' && element.getChild('query', roster)) {
      take(element.getChild('query'));
      send(xml('presence'));
    }
    const body = element.is('message') && element.getChildText('body');
    if (body) app.heard.push(body);
  });
  client.start().catch(() => {});
  app.say = (to, texts) => {
    for (const body of texts) send(xml('message', { to, type: 'chat' }, xml('body', {}, body)));
  };
  app.logout = () => client.stop();
  return app;
}

/** nbxmpp as it is, Gajim's library; over TCP to an address that begins with xmpp://. */
export function gajim(site, url, user) {
  const folder = join(root, 'tests/clients/gajim');
  const python = join(folder, 'venv/bin/python');
  assert.ok(existsSync(python), 'nbxmpp is missing: make deps installs it');
  const program = site.start(`gajim-${user}`, python, [join(folder, 'client.py'), url, domain, user, site.password(user)]);
  const look = () => {
    const app = knowing();
    for (const line of program.output().split('\n').filter((text) => text.startsWith('['))) {
      const [what, ...about] = JSON.parse(line);
      if (what === 'jid') {
        app.sessions += 1;
        [app.jid] = about;
      } else if (what === 'resumed') app.resumed += 1;
      else if (what === 'presence') app.presence(...about);
      else if (what === 'message') app.heard.push(about[1]);
      else if (what === 'avatar') app.avatars.push(about[0]);
      else if (what === 'contact') {
        const [jid, subscription, name, groups] = about;
        app.contact({ jid, subscription, name, groups });
      }
    }
    return app;
  };
  return {
    look,
    async say(to, texts) {
      for (const text of texts) program.tell(`${to} ${text}`);
      await program.says(JSON.stringify(['said', texts.at(-1)]).replace(',', ', ')); // as Python spaces it
    },
    publish(picture) { program.tell(`avatar ${picture}`); },
    logout() { program.tell('quit'); },
  };
}
