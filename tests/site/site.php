<?php // What the site of docs/site.md has besides: members, friends, a cookie. For PHP's built-in server.

require __DIR__ . '/chat.php';

const ONLINE = __DIR__ . '/online.json';
const FRIENDS = __DIR__ . '/friends.json';
const BANNED = __DIR__ . '/banned.json';

function kept(string $file): array
{
    return is_file($file) ? json_decode(file_get_contents($file), true) : [];
}

session_start(['read_and_close' => $_SERVER['REQUEST_URI'] !== '/enter']);
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
$user = $_SESSION['user'] ?? null;
$posted = $path === '/chat-events' ? [] : $_POST;
if ($path === '/enter') {
    $_SESSION['user'] = $posted['user'];
} elseif ($path === '/chat-credentials') {
    chat_credentials(in_array($user, kept(BANNED), true) ? null : $user);
} elseif (str_starts_with($path, '/contacts/')) {
    chat_contacts(kept(FRIENDS)[rawurldecode(substr($path, 10))] ?? null);
} elseif ($path === '/befriend') {
    $friends = kept(FRIENDS);
    $friends[$posted['one']][$posted['other']] = 'Friend of One';
    $friends[$posted['other']][$posted['one']] = 'Friend of Other';
    file_put_contents(FRIENDS, json_encode($friends));
    chat_friends_changed($posted['one'], $posted['other']);
} elseif ($path === '/chat-events') {
    chat_events(ONLINE);
} elseif ($path === '/online') {
    chat_answer(200, chat_online(ONLINE));
} elseif ($path === '/ban') {
    file_put_contents(BANNED, json_encode([$posted['user']]));
    chat_end($posted['user']);
}
