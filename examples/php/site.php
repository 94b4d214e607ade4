<?php // A small site: members, who is a friend of whom, and a chat.

require __DIR__ . '/chat.php';

const ONLINE = __DIR__ . '/online.json';

$db = new PDO('sqlite:' . __DIR__ . '/site.sqlite3');
$db->exec('CREATE TABLE IF NOT EXISTS members (username TEXT PRIMARY KEY, name TEXT NOT NULL, password TEXT NOT NULL)');
$db->exec('CREATE TABLE IF NOT EXISTS friends (member TEXT NOT NULL, friend TEXT NOT NULL, PRIMARY KEY (member, friend))');

/** What a query gives, column by column: by the first one, if there are two. */
function rows(string $query, string ...$values): array
{
    global $db;
    $statement = $db->prepare($query);
    $statement->execute($values);
    return $statement->fetchAll($statement->columnCount() === 2 ? PDO::FETCH_KEY_PAIR : PDO::FETCH_COLUMN);
}

/** Their names by username; null if there is no such member. */
function friends_of(string $member): ?array
{
    return rows('SELECT username FROM members WHERE username = ?', $member) === [] ? null
        : rows('SELECT username, name FROM friends JOIN members ON username = friend WHERE member = ? ORDER BY name', $member);
}

/** Both ways, in one transaction; the gateway is told when it is over. */
function change_friendship(string $query, string $one, string $other): void
{
    global $db;
    $db->beginTransaction();
    $change = $db->prepare($query);
    $change->execute([$one, $other]);
    $change->execute([$other, $one]);
    $db->commit();
    chat_friends_changed($one, $other);
}

function text(string $field): string
{
    return is_string($_POST[$field] ?? null) ? trim($_POST[$field]) : '';
}

function enter(string $user): void
{
    session_regenerate_id(true);
    $_SESSION['user'] = $user;
}

/** Does what a form asks for; gives what is wrong with it. */
function act(string $path, ?string $user): ?string
{
    $username = text('username');
    if ($path === '/join') {
        if (!preg_match('/^[a-z0-9-]{1,30}$/', $username) || text('password') === '') {
            return 'A username has small letters and digits, and there has to be a password.';
        }
        if (friends_of($username) !== null) {
            return 'That username is taken.';
        }
        $hash = password_hash(text('password'), PASSWORD_DEFAULT);
        rows('INSERT INTO members VALUES (?, ?, ?)', $username, text('name') ?: $username, $hash);
        enter($username);
    } elseif ($path === '/login') {
        [$hash] = rows('SELECT password FROM members WHERE username = ?', $username) ?: [''];
        if (!password_verify(text('password'), $hash)) {
            return 'That is not right.';
        }
        enter($username);
    } elseif ($user !== null && $path === '/add') {
        if ($username === $user || friends_of($username) === null) {
            return 'There is nobody of that name.';
        }
        change_friendship('INSERT OR IGNORE INTO friends VALUES (?, ?)', $user, $username);
    } elseif ($user !== null && $path === '/remove') {
        change_friendship('DELETE FROM friends WHERE member = ? AND friend = ?', $user, $username);
    } elseif ($user !== null && $path === '/logout') {
        session_destroy();
        chat_end($user);
    }
    return null;
}

function show(?string $user, ?string $wrong): void
{
    $h = fn (string $text) => htmlspecialchars($text);
    echo '<!doctype html><html lang="en"><meta charset="utf-8"><title>Friends</title>';
    echo '<p role="alert">' . $h($wrong ?? '') . '</p>';
    if ($user === null) {
        echo '<form method="post" action="/login"><h1>Log in</h1>
            <input name="username" placeholder="Username"> <input name="password" type="password" placeholder="Password">
            <button>Log in</button></form>
            <form method="post" action="/join"><h1>Join</h1>
            <input name="username" placeholder="Username"> <input name="name" placeholder="Name">
            <input name="password" type="password" placeholder="Password"> <button>Join</button></form>';
        return;
    }
    echo "<h1>Friends of $user</h1><p><a href=\"/chat.html\" target=\"_blank\">Chat</a></p><ul>";
    $online = chat_online(ONLINE);
    foreach (friends_of($user) as $friend => $name) {
        $is_online = in_array("$friend", $online, true) ? ' (online)' : '';
        echo "<li><form method=\"post\" action=\"/remove\">{$h($name)}$is_online
            <input name=\"username\" type=\"hidden\" value=\"$friend\"> <button>Remove</button></form></li>";
    }
    echo '</ul><form method="post" action="/add"><input name="username" placeholder="Username"> <button>Add</button></form>
        <form method="post" action="/logout"><button>Log out</button></form>';
}

$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
if (str_starts_with($path, '/contacts/')) {
    chat_contacts(friends_of(rawurldecode(substr($path, 10))));
} elseif ($path === '/chat-events') {
    chat_events(ONLINE);
} elseif ($path === '/' || $path === '/chat-credentials' || $_SERVER['REQUEST_METHOD'] === 'POST') {
    session_start(['cookie_httponly' => true, 'cookie_samesite' => 'Lax']);
    $user = $_SESSION['user'] ?? null;
    if ($path === '/chat-credentials') {
        chat_credentials($user);
    } elseif ($path === '/') {
        show($user, null);
    } elseif (($wrong = act($path, $user)) !== null) {
        show($user, $wrong);
    } else {
        header('Location: /', true, 303);
    }
} else {
    return false; // a file of the page
}
