<?php // What the chat needs. The site calls it from its own routes.

/** Asks the gateway; gives the status and the answer. */
function chat_gateway(string $method, string $path, ?array $body = null, string $header = ''): array
{
    $gateway = getenv('CHAT_GATEWAY') ?: 'http://127.0.0.1:5290/roster_admin';
    $answer = @file_get_contents($gateway . $path, false, stream_context_create(['http' => [
        'method' => $method,
        'header' => array_filter(['Content-Type: application/json', $header]),
        'content' => $body === null ? '' : json_encode($body),
        'ignore_errors' => true,
        'timeout' => 10,
    ]]));
    if ($answer === false) {
        return [503, ['message' => 'the chat is not there']];
    }
    return [(int) explode(' ', $http_response_header[0])[1], json_decode($answer, true)];
}

function chat_answer(int $status, array|object $data): void
{
    http_response_code($status);
    header('Content-Type: application/json');
    header('Cache-Control: no-store');
    echo json_encode($data);
}

/** GET /chat-credentials, for the page. $user: who is logged in, if anybody is, and not banned. */
function chat_credentials(?string $user): void
{
    chat_answer(...($user === null ? [403, []] : chat_gateway('POST', '/token', ['username' => $user])));
}

function chat_is_gateway(): bool
{
    $secret = getenv('CHAT_SECRET') ?: throw new Exception('CHAT_SECRET is not set');
    return hash_equals("Bearer $secret", $_SERVER['HTTP_AUTHORIZATION'] ?? '');
}

/** GET /contacts/USER, for the gateway. $friends: their names by username; null if there is no such member. */
function chat_contacts(?array $friends): void
{
    if (!chat_is_gateway()) {
        chat_answer(401, []);
        return;
    }
    if ($friends === null) {
        chat_answer(404, []);
        return;
    }
    $contacts = [];
    foreach ($friends as $friend => $name) {
        $contacts["$friend@example.org"] = ['name' => $name, 'groups' => ['Friends']];
    }
    chat_answer(200, (object) $contacts);
}

/** After COMMIT: these members have other friends now. A single worker must not wait: the gateway will ask it for the lists. */
function chat_friends_changed(string ...$users): void
{
    chat_gateway('POST', '/refresh', $users, 'Prefer: respond-async');
}

/**
 * POST /chat-events, from the gateway; of several gateways, each says ?gateway= in its events_url.
 * $file: where it is kept who is online; a table will do as well.
 */
function chat_events(string $file): void
{
    if (!chat_is_gateway()) {
        chat_answer(401, []);
        return;
    }
    $lock = fopen("$file.lock", 'c');
    flock($lock, LOCK_EX);
    $known = chat_known($file);
    $gateway = $_GET['gateway'] ?? '';
    foreach (json_decode(file_get_contents('php://input'), true) as $event) {
        if ($event['id'] <= ($known['last'][$gateway] ?? 0)) {
            continue; // it has come before
        }
        $known['last'][$gateway] = $event['id'];
        switch ($event['type']) {
            case 'online':
                $known['online'][$event['user']] = $event['at'];
                break;
            case 'offline':
                unset($known['online'][$event['user']]);
                break;
            case 'reset':
                $known['online'] = [];
                break;
            case 'gap':
                $everybody = chat_everybody();
                if ($everybody === null) {
                    chat_answer(503, []); // the gateway sends it again
                    return;
                }
                $known = ['last' => $everybody['last'] + $known['last'], 'online' => $everybody['online']];
                break;
        }
    }
    // Whoever reads meanwhile, or if this program is killed, has what was there before.
    $text = json_encode($known);
    $is_kept = file_put_contents("$file.new", $text) === strlen($text) && rename("$file.new", $file);
    fclose($lock);
    chat_answer($is_kept ? 200 : 503, []);
}

/** Asks who is online, and as of which event, if there is one gateway. Of more than 1,000, ask for the rest by after= */
function chat_everybody(): ?array
{
    [$status, $answer] = chat_gateway('GET', '/presence?limit=1000');
    $online = array_map(fn ($user) => $user['since'] ?? '', $answer['users'] ?? []);
    $last = isset($answer['event']) ? ['' => $answer['event']] : [];
    return $status === 200 ? ['last' => $last, 'online' => $online] : null;
}

/** The last event of each gateway, and who is online. The gateway knows, if nothing is kept. */
function chat_known(string $file): array
{
    $kept = is_file($file) ? json_decode(file_get_contents($file), true) : null;
    return $kept ?? chat_everybody() ?? ['last' => [], 'online' => []];
}

/** Who is online. */
function chat_online(string $file): array
{
    return array_map('strval', array_keys(chat_known($file)['online']));
}

/** After COMMIT: this member is banned, or has logged out. */
function chat_end(string $user): void
{
    chat_gateway('DELETE', '/sessions?user=' . rawurlencode($user));
}
