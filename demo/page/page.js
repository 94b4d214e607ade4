// The friends page: shows what the site knows, sends what people click, and two of their chats.

const shown = ['alice', 'bob'];
const groups = ['Friends', 'Family', 'Work'];
const $ = (id) => document.getElementById(id);
const copy = (id) => $(id).content.firstElementChild.cloneNode(true);

async function act(action, input) {
  const response = await fetch(`/do/${action}`, { method: 'POST', body: JSON.stringify(input) });
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
  if (!$('chats').childElementCount) {
    for (const person of people.filter(({ user }) => shown.includes(user))) openChat(person);
  }
}

function openChat({ user, name, jid, port }) {
  const chat = copy('chat');
  chat.dataset.user = user;
  chat.querySelector('.avatar').textContent = name[0];
  chat.querySelector('.name').textContent = name;
  chat.querySelector('.jid').textContent = jid;
  const frame = chat.querySelector('iframe');
  frame.name = user;
  frame.src = `http://${location.hostname}:${port}/`;
  $('chats').append(chat);
}

const marks = { bad: '✕', in: '←', ok: '✓', out: '→', site: '●' };

function add({ kind, text }) {
  const line = document.createElement('li');
  line.className = kind;
  line.dataset.mark = marks[kind];
  line.textContent = text;
  $('log').append(line);
  line.scrollIntoView({ block: 'nearest' });
}

const events = new EventSource('/events');
events.addEventListener('open', () => $('log').replaceChildren());
events.addEventListener('people', ({ data }) => show(JSON.parse(data)));
events.addEventListener('log', ({ data }) => add(JSON.parse(data)));
