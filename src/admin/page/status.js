// Shows what `status` says, again and again.
'use strict';

const EVERY = 2000; // ms
const KEY = 'rostergate-token';
const MOST = 8; // rows of a table that are shown unasked
const SVG = 'http://www.w3.org/2000/svg';
const HOUR = 60; // minutes, the width of a curve
const HEIGHT = 30;
const at = (id) => document.getElementById(id);

let timer;

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** Text that others have written, whichever way it runs. */
const quote = (text) => element('bdi', {}, text);
/** An address, whichever way its parts run. */
function quoteJid(jid) {
  const [domain, ...user] = jid.split('@').reverse();
  return element('bdi', { dir: 'ltr' }, quote(user.reverse().join('@')), '@', quote(domain));
}

const small = (...children) => element('small', {}, ...children);
const cell = (...children) => element('td', {}, ...children);

// ---- time -------------------------------------------------------------------------------------

const since = (time) => (Date.now() - Date.parse(time)) / 1000;

/** Seconds as people say them. */
function duration(seconds) {
  const units = [['day', 86400], ['hour', 3600], ['minute', 60], ['second', 1]];
  const [name, size] = units.find(([, length]) => seconds >= length) ?? units.at(-1);
  const count = Math.max(0, Math.floor(seconds / size));
  return `${count} ${name}${count === 1 ? '' : 's'}`;
}

const ago = (time) => `${duration(since(time))} ago`;

function moment(time) {
  const isOfToday = new Date(time).toDateString() === new Date().toDateString();
  return new Date(time)[isOfToday ? 'toLocaleTimeString' : 'toLocaleString']();
}

const when = (time) => cell(ago(time), small(moment(time)));

// ---- tables -----------------------------------------------------------------------------------

const opened = new Set(); // tables of which people want to see all

/** Fills a table: the first rows, or all when asked for; a row that says so if there are none. */
function fill(id, rows, what) {
  const body = at(id);
  const selection = getSelection();
  // Whoever is about to copy something keeps it.
  if (!selection.isCollapsed && selection.containsNode(body, true)) return;
  const names = [...body.parentElement.querySelectorAll('th')].map((th) => th.textContent);
  const shown = opened.has(id) ? rows : rows.slice(0, MOST);
  if (rows.length === 0) {
    body.replaceChildren(element('tr', {}, element('td', { colSpan: names.length, className: 'none' }, 'none')));
  } else {
    body.replaceChildren(...shown.map((cells) => {
      cells.forEach((td, i) => { td.dataset.name = names[i]; });
      return element('tr', {}, ...cells);
    }));
  }
  const button = at(`more-${id}`);
  button.hidden = rows.length <= MOST;
  button.textContent = opened.has(id) ? 'Show fewer' : `Show all ${rows.length} ${what}`;
  button.onclick = () => {
    if (!opened.delete(id)) opened.add(id);
    refresh();
  };
}

/** Whether something works that a domain depends on, and what else there is to say of it. */
function health({ works, last_worked: last }, ...more) {
  const notes = more.filter(([count]) => count > 0).map(([count, what]) => small(`${count.toLocaleString()} ${what}`));
  if (works === null) return cell('not needed yet', ...notes);
  if (works) return cell(element('span', { className: 'good' }, 'works'), ...notes);
  const [fails, history] = last === null
    ? ['has never worked', []]
    : ['fails', [small(`worked ${ago(last)}`)]];
  return cell(element('span', { className: 'bad' }, fails), ...history, ...notes);
}

function hostRow(host) {
  const { events, pending_events: pending, lost_events: lost } = host;
  const hasEvents = events.works !== null || pending > 0;
  return [
    cell(quote(host.domain)), health(host.backend), health(host.upstream),
    host.rosters === 'server' ? health(host.writer, [host.unwritten_rosters, 'yet to write']) : cell(),
    hasEvents ? health(events, [pending, 'yet to tell'], [lost, 'not told, as too many waited']) : cell(),
    host.stale_rosters > 0 ? cell(host.stale_rosters.toLocaleString()) : cell(),
  ];
}

/** Those that need somebody to look at them come first. */
function inTrouble(host) {
  return [host.backend, host.upstream, host.writer, host.events].some(({ works }) => works === false);
}

const PARTS = {
  backend: 'contact lists from your site',
  upstream: 'XMPP server',
  writer: 'lists written into the XMPP server',
  events: 'telling your site who is online',
};

function failureRow({ domain, part, error, count, first, last, users }) {
  const often = count > 1 ? [small(`${count.toLocaleString()} times since ${moment(first)}`)] : [];
  const names = users.flatMap((user, i) => [i === 0 ? '' : ', ', element('bdi', { className: 'user', title: user }, user)]);
  const whose = users.length > 0 ? [small(count > 1 ? 'last for ' : 'for ', ...names)] : [];
  const time = when(last);
  time.append(...often);
  return [time, cell(PARTS[part], small(quote(domain))), cell(quote(error), ...whose)];
}

function incompleteRow(list) {
  return [when(list.at), cell(quoteJid(list.jid)), cell(list.left_out), cell(quote(list.contacts))];
}

function gatewayRow({ name, answers, version, started, draining, sessions, reason }) {
  const state = answers
    ? cell(element('span', { className: 'good' }, draining ? 'going down' : 'answers'))
    : cell(element('span', { className: 'bad' }, 'does not answer'), ...(reason ? [small(quote(reason))] : []));
  return [
    cell(quote(name)), state, cell(sessions === null ? '' : sessions.toLocaleString()),
    ...(started === null ? [cell()] : [cell(duration(since(started)), small(`since ${moment(started)}`))]),
    cell(quote(version ?? 'another one')),
  ];
}

/** Those of a cluster, and what cannot be known of them. */
function showGateways(gateways = [], incomplete = []) {
  at('cluster').hidden = gateways.length === 0;
  if (gateways.length === 0) return;
  at('own').textContent = gateways[0].name;
  const sorted = [...gateways].sort((a, b) => a.answers - b.answers);
  fill('gateways', sorted.map(gatewayRow), 'gateways');
  const isTold = (text) => gateways.some(({ reason }) => reason === text);
  const untold = incomplete.filter((text) => !isTold(text)).slice(0, MOST);
  at('unknown').textContent = untold.join('; ');
  at('unknown').hidden = untold.length === 0;
}

// ---- curves -----------------------------------------------------------------------------------

const number = (value) => Math.round(value).toLocaleString();
const milliseconds = (value) => (value < 10 ? `${Number(value.toPrecision(2))} ms` : `${number(value)} ms`);

const CURVES = [
  { key: 'sessions', name: 'Chats', isLevel: true },
  { key: 'messages', name: 'Messages a minute' },
  { key: 'refreshed', name: 'Changed lists a minute' },
  { key: 'failures', name: 'Failures a minute' },
  { key: 'answer', name: 'Time your site takes to answer', say: milliseconds },
];

/** A figure of a curve, without a curve. */
function figure({ key, name }) {
  const svg = document.createElementNS(SVG, 'svg');
  const part = (tag, attributes) => {
    const made = document.createElementNS(SVG, tag);
    for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
    svg.append(made);
    return made;
  };
  svg.setAttribute('viewBox', `0 0 ${HOUR} ${HEIGHT}`);
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-labelledby', `${key}-title ${key}-desc`);
  part('title', { id: `${key}-title` }).textContent = name;
  part('desc', { id: `${key}-desc` });
  part('path', { class: 'area' });
  part('path', { class: 'line' });
  const caption = element('figcaption', {}, name, element('b'), element('span'));
  const made = element('figure', {}, caption, svg);
  made.dataset.key = key;
  return made;
}

/** Pieces of a curve between minutes without a value, each a list of points; the last minute is on the right. */
function pieces(values, most) {
  const found = [[]];
  values.forEach((value, i) => {
    if (value === null) found.push([]);
    else found.at(-1).push([HOUR - values.length + 1 + i, HEIGHT * (1 - value / most)]);
  });
  return found.filter((points) => points.length > 0);
}

function draw(curve, all) {
  const made = at('curves').querySelector(`[data-key=${curve.key}]`);
  // The minute that runs says how many there are, but not how much will have happened.
  const values = curve.isLevel || all.length === 1 ? all : all.slice(0, -1);
  const most = Math.max(...values);
  const last = values.at(-1);
  const say = curve.say ?? number;
  const latest = last === null ? '–' : say(last);
  const highest = values.every((value) => value === null) ? 'not asked' : `at most ${say(most)}`;
  const caption = made.querySelector('figcaption');
  caption.querySelector('b').textContent = latest;
  caption.querySelector('span').textContent = highest;
  const span = values.length === 1 ? 'the first minute' : `the last ${values.length} minutes`;
  made.querySelector('desc').textContent = `${span}: ${latest} last, ${highest}`;
  const lines = pieces(values, Math.max(most, 1e-9));
  const path = (points) => points.map(([x, y]) => `${x},${y.toFixed(2)}`).join('L');
  const line = lines.map((points) => `M${path(points)}${points.length === 1 ? 'h0' : ''}`);
  const area = lines.map((points) => `M${points[0][0]},${HEIGHT}L${path(points)}V${HEIGHT}Z`);
  made.querySelector('.line').setAttribute('d', line.join(''));
  made.querySelector('.area').setAttribute('d', area.join(''));
  made.classList.toggle('failing', curve.key === 'failures' && most > 0);
}

at('curves').append(...CURVES.map(figure));

// ---- the whole --------------------------------------------------------------------------------

function show(status) {
  const { sessions, refreshes } = status;
  const texts = {
    version: status.version,
    state: status.draining
      ? 'Going down: chats are being ended, and no new ones begin.'
      : `Running for ${duration(since(status.started))}.`,
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
    last: refreshes.last === null ? 'never' : ago(refreshes.last),
  };
  for (const [id, text] of Object.entries(texts)) at(id).textContent = text.toLocaleString();
  at('state').className = status.draining ? 'bad' : 'good';
  for (const curve of CURVES) draw(curve, status.last_hour[curve.key]);
  showGateways(status.gateways, status.incomplete);
  const hosts = [...status.hosts].sort((a, b) => inTrouble(b) - inTrouble(a));
  fill('hosts', hosts.map(hostRow), 'domains');
  fill('failures', status.failures.map(failureRow), 'failures');
  fill('incomplete', status.incomplete_rosters.map(incompleteRow), 'lists');
}

function say(text, className = '') {
  at('state').textContent = text;
  at('state').className = className;
}

/** Asks the gateway: its answer, and what that says; null if there is none. */
async function ask(token) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  try {
    const response = await fetch('status', { headers, cache: 'no-store' });
    return { code: response.status, status: await response.json() };
  } catch {
    return { code: null };
  }
}

async function refresh() {
  clearTimeout(timer);
  const token = sessionStorage.getItem(KEY);
  const { code, status } = await ask(token);
  const isLocked = code === 401;
  if (code === 200) show(status);
  else if (isLocked && token) say('That is not the admin token.', 'bad');
  else if (isLocked) say('Please show the admin token.');
  else if (code !== null) say(status.message, 'bad');
  else say(`No answer from the gateway.${at('main').hidden ? '' : ' Below is what it said last.'}`, 'bad');
  if (isLocked) sessionStorage.removeItem(KEY);
  at('login').hidden = !isLocked;
  at('main').hidden = isLocked || (code !== 200 && at('main').hidden);
  clearTimeout(timer);
  // Whoever has to show a token first is waited for.
  if (!isLocked) timer = setTimeout(refresh, EVERY);
}

at('login').addEventListener('submit', (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, at('token').value);
  at('token').value = '';
  refresh();
});

refresh();
