// Has Converse.js (tried: 10.1.2 and 14.0.0) come by BOSH where no WebSocket can be had, and by WebSocket again when it
// can. Converse has the means, but never uses them: it overwrites that an attempt has failed before it looks at that.
//
//   import { withFallback } from './fallback.js';
//   converse.initialize(await withFallback({ websocket_url: 'wss://…', bosh_service_url: '/http-bind', … }));

const PATIENCE = 5000; // ms

/** Whether a WebSocket opens there. */
const opens = (url) => new Promise((done) => {
  const socket = new WebSocket(url, 'xmpp');
  const tell = (answer) => {
    socket.close();
    done(answer);
  };
  socket.onopen = () => tell(true);
  socket.onerror = () => tell(false);
  setTimeout(tell, PATIENCE, false);
});

const answers = (url) => fetch(url).then(({ ok }) => ok, () => false);

export async function withFallback(settings) {
  const { bosh_service_url, websocket_url, whitelisted_plugins = [] } = settings;

  window.converse.plugins.add('fallback', {
    initialize() {
      const { _converse } = this;
      const { api } = _converse;
      const connection = () => api.connection.get?.() ?? _converse.connection; // as in 14, and as in 10
      let jid;
      api.listen.on('afterResourceBinding', () => {
        ({ jid } = connection());
        api.settings.set({ websocket_url });
      });
      // With the resource that it had, the server ends the session that may still wait for its WebSocket, and has its
      // messages come to this one.
      api.listen.on('beforeResourceBinding', () => { connection().jid = jid ?? connection().jid; });
      // Converse waits for this, and takes the other way if the last attempt seems to have failed. If there is none at
      // all, the WebSocket is the better one to wait for: it goes on with the session.
      api.listen.on('beforeTearDown', async () => {
        if (!connection()?.reconnecting) return;
        const open = await opens(websocket_url);
        const leaves = api.connection.isType('websocket') ? !open && await answers(bosh_service_url) : open;
        if (leaves) connection().setConnectionStatus(window.converse.env.Strophe.Status.CONNFAIL);
      });
    },
  });

  return {
    ...settings,
    websocket_url: await opens(websocket_url) ? websocket_url : undefined,
    whitelisted_plugins: [...whitelisted_plugins, 'fallback'],
  };
}
