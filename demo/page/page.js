// The friends page: shows what the site knows, sends what people click, and two of their chats.

const shown = ['alice', 'bob'];
const groups = ['Friends', 'Family', 'Work'];
const $ = (id) => document.getElementById(id);
const copy = (id) => $(id).content.firstElementChild.cloneNode(true);

function post(path, input) {
  const headers = { 'Content-Type': 'application/json' };
  return fetch(path, { method: 'POST', headers, body: JSON.stringify(input) });
}

async function act(action, input) {
  const response = await post(`/do/${action}`, input);
  if (response.status === 400) add({ kind: 'bad', text: (await response.json()).message });
}

function friendRow(user, friend, { name, group }) {
  const row = copy('friend');
  row.dataset.friend = friend;
  const input = row.querySelector('.name');
  input.value = name;
  input.addEventListener('change', () => act('rename', { user, friend, name: input.value.trim() }));
  const select = row.querySelector('.group');
  select.append(...groups.map((one) => new Option(one, one, one === group, one === group)));
  select.addEventListener('change', () => act('regroup', { user, friend, group: select.value }));
  row.querySelector('.unfriend').addEventListener('click', () => act('unfriend', { user, friend }));
  return row;
}

function otherRow(user, other) {
  const row = copy('other');
  row.dataset.friend = other.user;
  row.querySelector('.name').textContent = other.name;
  const button = row.querySelector('.befriend');
  button.addEventListener('click', () => act('befriend', { user, friend: other.user }));
  return row;
}

function show(people) {
  const lists = people.filter(({ user }) => shown.includes(user)).map((person) => {
    const card = copy('person');
    card.dataset.user = person.user;
    card.querySelector('.name').textContent = person.name;
    card.querySelector('.avatar').textContent = person.name[0];
    const others = people.filter(({ user }) => user !== person.user);
    card.querySelector('ul').append(...others.map((other) => (
      other.user in person.friends
        ? friendRow(person.user, other.user, person.friends[other.user])
        : otherRow(person.user, other))));
    return card;
  });
  $('people').replaceChildren(...lists);
  $('online').replaceChildren(...people.filter(({ online }) => online).map(({ user, name }) => {
    const one = document.createElement('b');
    one.dataset.user = user;
    one.textContent = name;
    return one;
  }));
  for (const person of people.filter(({ user }) => shown.includes(user))) {
    const chat = $('chats').querySelector(`[data-user=${person.user}]`) ?? openChat(person);
    const plug = chat.querySelector('.plug');
    plug.disabled = person.unplugged;
    plug.textContent = person.unplugged ? 'no network' : 'pull the plug';
    chat.querySelector('.ban').textContent = person.banned ? 'let in' : 'ban';
    chat.dataset.banned = person.banned;
  }
}

const fronts = { bosh: 'BOSH', websocket: 'WebSocket' };
const UNPLUGGED = 8; // s

function openChat({ user, name, jid, port, front }) {
  const chat = copy('chat');
  chat.dataset.user = user;
  chat.querySelector('.avatar').textContent = name[0];
  chat.querySelector('.name').textContent = name;
  chat.querySelector('.jid').textContent = jid;
  chat.querySelector('.front').textContent = fronts[front];
  chat.querySelector('.plug').addEventListener('click', () => {
    post('/unplug', { user, seconds: UNPLUGGED });
  });
  chat.querySelector('.ban').addEventListener('click', async () => {
    const banned = chat.dataset.banned !== 'true';
    await post('/ban', { user, banned });
    // The chat of somebody who is let in again begins anew.
    if (!banned) frame.src = `http://${location.hostname}:${port}/?front=${front}`;
  });
  const frame = chat.querySelector('iframe');
  frame.name = user;
  frame.src = `http://${location.hostname}:${port}/?front=${front}`;
  showPlace(chat);
  $('chats').append(chat);
  return chat;
}

// ---- several gateways -------------------------------------------------------------------------

let gateways = [];

const nameOf = (user) => user[0].toUpperCase() + user.slice(1);

function gatewayRow({ name, answers, chats }) {
  const row = copy('gateway');
  row.dataset.gateway = name;
  row.dataset.answers = answers;
  row.querySelector('code').textContent = name;
  row.querySelector('p').textContent = answers ? chats.map(nameOf).join(', ') || 'no chats' : 'no answer';
  const button = row.querySelector('button');
  button.textContent = answers ? 'kill -9' : 'start again';
  button.title = answers ? 'Its chats go on at other gateways, and lose nothing.' : '';
  button.addEventListener('click', () => {
    button.disabled = true;
    post('/gateway', { name, isToRun: !answers });
  });
  return row;
}

function showGateways() {
  $('gateways').hidden = gateways.length === 0;
  $('gateways').replaceChildren(...gateways.map(gatewayRow));
  for (const chat of $('chats').children) showPlace(chat);
}

/** Which gateway has a chat. */
function showPlace(chat) {
  const places = gateways.filter(({ chats }) => chats.includes(chat.dataset.user));
  const mark = chat.querySelector('.gateway');
  mark.hidden = gateways.length === 0;
  mark.textContent = places.length ? `at ${places.map(({ name }) => name).join(', ')}` : 'at no gateway';
}

const marks = { bad: '✕', in: '←', ok: '✓', out: '→', site: '●' };

function add({ kind, text }) {
  const line = document.createElement('li');
  line.className = kind;
  line.dataset.mark = marks[kind];
  line.textContent = text;
  $('log').append(line);
  $('log').scrollTop = $('log').scrollHeight;
}

const events = new EventSource('/events');
events.addEventListener('open', () => $('log').replaceChildren());
events.addEventListener('people', ({ data }) => show(JSON.parse(data)));
events.addEventListener('gateways', ({ data }) => {
  gateways = JSON.parse(data);
  showGateways();
});
events.addEventListener('log', ({ data }) => add(JSON.parse(data)));
