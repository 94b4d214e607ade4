// JSXC as its manual has it, with the password from the address.

const { jsxc, $ } = window;
const { url, jid, password } = Object.fromEntries(new URLSearchParams(window.location.search));
const bid = (contact) => contact.split('/')[0];
const presences = [];

$(document).on('presence.jsxc', (event, from, status) => {
  presences.push(`${from} ${status === 0 ? 'unavailable' : 'available'}`);
});

window.app = {
  presences,
  get jid() { return jsxc.xmpp.conn?.jid ?? ''; },
  /** Those who are shown, by JID. */
  get roster() {
    const rows = [...document.querySelectorAll('#jsxc_buddylist > li')];
    return Object.fromEntries(rows.map((row) => (
      [row.dataset.bid, row.querySelector('.jsxc_name').textContent.trim()])));
  },
  get online() {
    const rows = [...document.querySelectorAll('#jsxc_buddylist > li[data-status=online]')];
    return rows.map((row) => row.dataset.bid);
  },
  get heard() {
    return [...document.querySelectorAll('.jsxc_chatmessage.jsxc_in > div:first-child')]
      .map((message) => message.textContent);
  },
  open(contact) { jsxc.gui.window.open(bid(contact)); },
  say(to, texts) {
    jsxc.gui.window.open(bid(to));
    for (const text of texts) jsxc.gui.window.postMessage({ bid: bid(to), direction: 'out', msg: text });
  },
  logout() { jsxc.xmpp.logout(); },
};

jsxc.init({ root: new URL('jsxc', window.location.href).pathname, xmpp: { url }, otr: { enable: false }, loginForm: { enable: false } });
jsxc.start(jid, password);
