// The other side of a chat: stanza.js, over BOSH too.

import * as stanza from 'stanza';

import { domain } from './support.mjs';

let told = 0;

/** The lists of a site where Bob knows these women, and they know him. */
export function everybody(women) {
  const theirs = { [`bob@${domain}`]: { name: 'Bob <3', groups: ['Friends'] } };
  const his = Object.fromEntries(women.map((woman) => [`${woman}@${domain}`, { name: woman }]));
  return { ...Object.fromEntries(women.map((woman) => [woman, theirs])), bob: his };
}

/** Logs `user` in; `heard` are the messages, `online` who is there, by full JID. */
export async function friend(site, user) {
  const client = stanza.createClient({
    jid: `${user}@${domain}`, password: site.password(user), transports: { bosh: site.url, websocket: false },
  });
  client.heard = [];
  client.online = new Set();
  client.on('message', (message) => client.heard.push(message.body));
  client.on('available', ({ from }) => client.online.add(from));
  client.on('unavailable', ({ from }) => client.online.delete(from));
  /** Writes so many messages, each unlike all others; gives their texts. */
  client.tell = (to, count) => {
    const texts = Array.from({ length: count }, () => `message ${told += 1} & <more>`);
    for (const body of texts) client.sendMessage({ to, type: 'chat', body });
    return texts;
  };
  const started = new Promise((done) => { client.on('session:started', done); });
  client.connect();
  await started;
  await client.getRoster();
  client.sendPresence();
  return client;
}
