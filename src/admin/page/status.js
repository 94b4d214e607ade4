// Shows what `status` says, again and again.
'use strict';

const EVERY = 2000; // ms
const KEY = 'rostergate-token';
const at = (id) => document.getElementById(id);

let timer;

/** Seconds as people say them. */
function ago(seconds) {
  const units = [['day', 86400], ['hour', 3600], ['minute', 60], ['second', 1]];
  const [name, size] = units.find(([, length]) => seconds >= length) ?? units.at(-1);
  const count = Math.max(0, Math.floor(seconds / size));
  return `${count} ${name}${count === 1 ? '' : 's'}`;
}

function cell(text, className = '') {
  const td = document.createElement('td');
  td.textContent = text;
  td.className = className;
  return td;
}

function row(...cells) {
  const tr = document.createElement('tr');
  tr.append(...cells);
  return tr;
}

function health(works) {
  if (works === null) return cell('not needed yet');
  return works ? cell('works', 'good') : cell('fails', 'bad');
}

/** Whether lists can be written into the server, where it holds them. */
function writer(host) {
  if (host.rosters !== 'server') return cell('');
  const td = health(host.writer);
  if (host.unwritten_rosters > 0) td.textContent += `, ${host.unwritten_rosters} to write`;
  return td;
}

/** Whether the site takes events. */
function events(host) {
  if (host.events === null && host.pending_events === 0) return cell('');
  const td = health(host.events);
  if (host.pending_events > 0) td.textContent += `, ${host.pending_events} to send`;
  if (host.lost_events > 0) td.textContent += `, ${host.lost_events} lost`;
  return td;
}

function show(status) {
  const since = (time) => (Date.now() - Date.parse(time)) / 1000;
  const { sessions, refreshes } = status;
  const texts = {
    version: status.version,
    state: `${status.message}, running for ${ago(since(status.started))}`,
    bosh: sessions.bosh,
    websocket: sessions.websocket,
    bound: sessions.bound,
    asleep: sessions.asleep,
    coming: sessions.connecting + sessions.negotiating,
    ending: sessions.ending,
    interested: sessions.interested,
    held: status.held_requests,
    ever: status.sessions_ever,
    updated: refreshes.updated,
    failed: refreshes.failed,
    pushes: status.pushes,
    last: refreshes.last === null ? 'never' : `${ago(since(refreshes.last))} ago`,
  };
  for (const [id, text] of Object.entries(texts)) at(id).textContent = text;
  at('state').className = status.draining ? 'bad' : 'good';
  at('hosts').replaceChildren(...status.hosts.map((host) => row(
    cell(host.domain), health(host.backend), health(host.upstream), writer(host),
    events(host), cell(host.stale_rosters),
  )));
  at('failures').replaceChildren(...status.failures.map((failure) => row(
    cell(new Date(failure.at).toLocaleString()),
    cell(failure.domain), cell(failure.part), cell(failure.error),
  )));
  at('none').hidden = status.failures.length > 0;
  at('incomplete').replaceChildren(...status.incomplete_rosters.map((list) => row(
    cell(new Date(list.at).toLocaleString()),
    cell(list.jid), cell(list.left_out), cell(list.contacts),
  )));
  at('complete').hidden = status.incomplete_rosters.length > 0;
}

function complain(text) {
  at('state').textContent = text;
  at('state').className = 'bad';
}

async function refresh() {
  clearTimeout(timer);
  const token = sessionStorage.getItem(KEY);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let response;
  try {
    response = await fetch('status', { headers, cache: 'no-store' });
    const status = await response.json();
    if (response.ok) show(status);
    else complain(status.message);
  } catch {
    complain('no answer from the gateway');
  }
  const locked = response?.status === 401;
  if (locked) sessionStorage.removeItem(KEY);
  at('login').hidden = !locked;
  at('main').hidden = !response?.ok && at('version').textContent === '';
  // Whoever has to show a token first is waited for.
  if (!locked) timer = setTimeout(refresh, EVERY);
}

at('login').addEventListener('submit', (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, at('token').value);
  at('token').value = '';
  refresh();
});

refresh();
