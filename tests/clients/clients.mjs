// The clients that do the same in the same tests, by name.
//
// A page says what it is and what it loads; anything else, which function of `programs.mjs` starts it. `firefox`: it is
// tried there, too. `resumes`: it has stream management over WebSocket. `rewrites`: what was on its way to the server
// when a session was lost it writes again in the next one. `groups`: it shows them. `shows`: what it makes of a text.

import { gajim, stanzaJs, xmppJs } from './programs.mjs';
import { FRONTS } from './support.mjs';

const modules = 'tests/clients/node_modules';
const strophe = (file) => ({ page: 'strophe', loads: { 'strophe.js': `${modules}/${file}` } });
const converse = (folder) => ({
  page: 'converse', loads: { 'converse/': folder, 'fallback.js': 'contrib/converse/fallback.js' },
});

const ALL = {
  'strophe-1.2': strophe('strophe-1.2/strophe.js'),
  'strophe-1.6': { ...strophe('strophe-1.6/dist/strophe.umd.min.js'), firefox: true },
  'strophe-5': { ...strophe('strophe.js/dist/strophe.umd.min.js'), firefox: true, resumes: true, rewrites: true },
  'converse-7': converse(`${modules}/converse-7/dist`),
  'converse-10': { ...converse(`${modules}/converse-10/dist`), firefox: true, resumes: true },
  'converse-14': { ...converse('demo/node_modules/converse.js/dist'), firefox: true, resumes: true },
  jsxc: {
    page: 'jsxc',
    loads: { 'jsxc/': '/usr/share/javascript/jsxc' },
    // It shows no groups, and no tags, which it takes for HTML.
    groups: false,
    shows: (text) => text.replaceAll(/<[^>]*>/g, ''),
  },
  'stanza.js': { start: stanzaJs, resumes: true },
  'xmpp.js': { start: xmppJs, fronts: ['websocket'], resumes: true, rewrites: true },
  nbxmpp: { start: gajim, fronts: ['websocket'], resumes: true },
};

/** Where clients run. */
export const PLACES = ['chromium', 'firefox', 'no browser'];

/** Those that run in a place, with their names. */
export const clientsIn = (place) => Object.entries(ALL)
  .map(([name, client]) => ({ name, fronts: FRONTS, groups: true, shows: (text) => text, ...client }))
  .filter(({ page, firefox }) => (page ? place === 'chromium' || (place === 'firefox' && firefox) : place === 'no browser'));

/** The files that pages need, by URL path. */
export const filesOf = (clients) => Object.fromEntries(clients.filter(({ page }) => page)
  .flatMap(({ name, page, loads }) => [
    [`/${name}/chat`, `tests/clients/page/${page}.html`],
    [`/${name}/page.js`, `tests/clients/page/${page}.js`],
    ...Object.entries(loads).map(([path, file]) => [`/${name}/${path}`, file]),
  ]));
